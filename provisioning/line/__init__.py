"""The printed-circuit inspection line that feeds the demo: synthetic boards, six kinds of defects, a camera and its video."""
