"""The command line called in this process."""

from uddm_lib.__main__ import main


def error_line(capsys, *arguments):
    """Run a command that must fail with status 2 and one line on stderr; returns the line."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    out, line = capsys.readouterr()
    assert status == 2 and not out and line.startswith("error: ") and line.count("\n") == 1
    return line
