"""Hardware profiles: which engine, precision, batch and threads a board or server uses. One TOML file each, in hw-profiles/."""
