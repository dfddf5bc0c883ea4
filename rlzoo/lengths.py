"""What the length of a response earns, in plain numbers: the verifier's side and objectives both use it."""


def overlong_punishment(size: int, max_response: int, buffer: int) -> float:
    """0 up to `max_response - buffer` tokens, then down to -1 at `max_response`. arXiv:2503.14476, eq. 13."""
    return -min(max(size - (max_response - buffer), 0) / buffer, 1.0)
