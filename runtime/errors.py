"""Everything that can go wrong on the device, one type per person who can fix it."""

__all__ = [
    "BundleError",
    "DestinationError",
    "DeviceError",
    "ImageError",
    "InstructionError",
    "LanguageError",
    "UsageError",
    "ZeusEdgeError",
    "first_line",
]


class ZeusEdgeError(Exception):
    """Base of every error raised on purpose; the message names the thing, the fact and the fix.

    Attributes:
        exit_code: What a command returns to its shell.
    """

    exit_code = 1


class UsageError(ZeusEdgeError, ValueError):
    """The command line or the call is wrong; the caller can fix it."""

    exit_code = 2


class ImageError(ZeusEdgeError, ValueError):
    """The input study cannot be read or is not what the model expects."""

    exit_code = 3


class BundleError(ZeusEdgeError, ValueError):
    """The model bundle is missing, damaged or of another schema version."""

    exit_code = 4


class DeviceError(ZeusEdgeError, RuntimeError):
    """The device is absent, out of memory or failed."""

    exit_code = 5


class InstructionError(ZeusEdgeError, ValueError):
    """The instruction asks for something this bundle cannot segment."""

    exit_code = 6


class LanguageError(ZeusEdgeError, RuntimeError):
    """The language model gave no answer: it crashed, hung, took too long or left its grammar.

    One answer is lost, not the process; an instruction from the bank does without it.
    """

    exit_code = 6


class DestinationError(ZeusEdgeError, OSError):
    """The result could not be written or was refused where it was sent."""

    exit_code = 7


def first_line(error: Exception, most: int = 300) -> str:
    """The first line of a library's error, cut to so many characters; its type where there is no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]
