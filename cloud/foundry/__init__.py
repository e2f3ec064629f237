"""The foundry: from labelled pictures and weights to releases. Distils, exports, quantises, calibrates, measures, gates."""

import shared.engines as _engines  # noqa: F401 - before ONNX Runtime's quantiser is imported: it switches its telemetry off
