"""Count the work of our own code, not its seconds: the same on any machine, however busy."""

import sys


def steps(action):
    """Return how many bytecode instructions the package runs in a call. What a library does in C is not counted."""
    counted = 0

    def trace(frame, event, _):
        nonlocal counted
        if "course_utils" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        counted += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return counted
