"""Where labelled pictures come from: the line's generator, DeepPCB, Fashion-MNIST, or a folder of the user's."""
