"""Images with identical bytes are computed once; copies get the same prediction."""
