"""The commands of `dvt`, one thin module each: options in, one call, lines and JSON out."""
