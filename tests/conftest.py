"""What holds for every test: nothing reports to anybody."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
