"""The peers' formats. Every module has `FORMATS`, and quantizes and reads back with the peer's own code."""
