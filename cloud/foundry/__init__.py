"""The foundry: from labelled pictures and weights to releases. Distils, exports, quantises, calibrates, measures, gates."""
