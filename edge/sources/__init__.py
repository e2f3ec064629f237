"""Where frames come from: video files, labelled data sets and folders, each in its own file behind one Protocol."""
