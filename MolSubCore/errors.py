"""The one exception family of MolSubCore.

Every message is one line: what was looked at, what is wrong with it (with the value found and the
value expected), and the way out. The command line prints it and ends with exit code 2.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
from collections.abc import Iterable

_MEMORY_ADVICE = (
    "out of memory on the {device}. Use a smaller --batch-size, --precision bf16 on a GPU, or --device cpu."
)
_OS_ADVICE = {
    errno.ENOSPC: "the disk is full. Free some space, or choose another --out; nothing half-written was left",
    errno.EDQUOT: "the disk quota is used up. Free some space, or choose another --out",
    errno.EFBIG: "the file would be larger than is allowed there. Raise the limit (ulimit -f), or choose another --out",
    errno.EACCES: "permission denied. Choose a folder that you may write to",
    errno.EROFS: "the file system is read-only. Choose another --out",
}
# Writers in native code (safetensors, HDF) wrap the system's error in their own class; NumPy's has no number.
_DISK_FULL = re.compile(r"No space left on device|os error 28|\d requested and \d+ written")

#: Longest statement of a problem; files can hold values of any length.
_LONGEST = 600


def printable(text: str, most: int = _LONGEST) -> str:
    """`text` in one line that is safe on a terminal and in a page: a file's control characters are escaped.

    Parameters
    ----------
    text : str
        Of any origin and length.
    most : int
        More characters than this are left out in the middle.
    """
    if len(text) > most:
        text = f"{text[: most - 103]}...{text[-100:]}"
    words = " ".join(text.split())
    if words.isprintable():
        return words
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in words)


#: Control characters but for tabs and ends of lines, and those that turn the direction of writing.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def without_controls(text: str) -> str:
    """`text` as a page may hold it: control characters, as names of files can have them, are escaped."""
    return _CONTROLS.sub(lambda sign: sign[0].encode("unicode_escape").decode("ascii"), text)


def counted(number: object, noun: str, several: str = "") -> str:
    """A number with its noun in singular or plural; `several` where the plural isn't the noun with an s."""
    return f"{number} {noun if str(number) == '1' else several or noun + 's'}"


def listed(noun: str, names: Iterable[object]) -> str:
    """Names behind their noun: ``column age``, ``columns age, stage``."""
    known = [str(name) for name in names]
    return f"{noun}{'s' * (len(known) != 1)} {', '.join(known)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that a misspelt one most probably means; empty where none is like it."""
    by_key = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_key, n=1, cutoff=0.6)
    return by_key[found[0]] if found else ""


class MolSubError(ValueError):
    """An input that cannot be used, said in one line.

    Parameters
    ----------
    subject : str or os.PathLike
        What the error is about: a file, a table row, an option.
    problem : str
        What was found and what was expected, without a final full stop.
    remedy : str
        The way out, without a final full stop.
    """

    exit_code = 2

    def __init__(self, subject: str | os.PathLike[str], problem: str, remedy: str) -> None:
        self.subject = os.fspath(subject)
        self.problem = printable(problem)
        self.remedy = remedy
        super().__init__(f"{printable(self.subject)}: {self.problem}. {printable(remedy, 2 * _LONGEST)}.")

    def __reduce__(self) -> tuple[type[MolSubError], tuple[str, str, str]]:
        """So that an error of a worker process arrives as it was."""
        return type(self), (self.subject, self.problem, self.remedy)


class ImageError(MolSubError):
    """A mammogram that cannot be read or used."""


class LesionError(MolSubError):
    """A lesion mask, polygon or box that cannot be read or does not fit its mammogram."""


class MeaninglessError(LesionError):
    """An image or a lesion that can be read, but of which a prediction means nothing."""


class CohortError(MolSubError):
    """A cohort table, split file or patch store that cannot be used."""


class BundleError(MolSubError):
    """A model bundle, checkpoint or pretrained-weight file that cannot be used."""


class TrainingError(MolSubError):
    """A training plan or run folder that cannot be used."""


def explain_error(error: BaseException) -> tuple[str, int]:
    """What any exception means for the user, in one line, and the exit code: 2 bad input, 1 a fault of ours."""
    if isinstance(error, MolSubError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return _MEMORY_ADVICE.format(device="computer" if isinstance(error, MemoryError) else "GPU"), 2
    # PyTorch's CPU allocator has no class of its own for it.
    if isinstance(error, RuntimeError) and "not enough memory" in str(error):
        return _MEMORY_ADVICE.format(device="computer"), 2
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding() != "utf-8":
        found = f"a file's name has letters that the computer's locale does not have ({error.encoding})"
        return f"{found}. Set LC_ALL=C.UTF-8 or PYTHONUTF8=1.", 2
    number = errno.ENOSPC if _DISK_FULL.search(str(error)) else getattr(error, "errno", None)
    name = getattr(error, "filename", None)
    shown = printable(str(name)) if name else "output"
    if number in _OS_ADVICE:
        return f"{shown}: {_OS_ADVICE[number]}.", 2
    if isinstance(error, OSError) and name:  # a name too long, a folder in place of a file, a drive that is gone
        return f"{shown}: {error.strerror}. Check the path.", 2
    if isinstance(error, OSError) and number is not None:  # no usable temporary folder, too many open files
        return f"{printable(error.strerror or str(error))}. Check the computer's disks and limits.", 2
    text = printable(f"{type(error).__name__}: {error}")
    return f"internal error: {text}. Run again with MOLSUB_DEBUG=1 and report the traceback.", 1


def reason_of(error: BaseException, most: int = 160, *, kind: bool = False) -> str:
    """Why something failed, for brackets in a sentence: of the system's errors its words, without number and path.

    Parameters
    ----------
    error : BaseException
        Of any library.
    most : int
        More characters than this are left out in the middle.
    kind : bool
        Name the error's class before its text, for errors that say little without it.
    """
    if isinstance(error, MolSubError):
        return error.problem
    if isinstance(error, OSError) and error.strerror:
        return printable(error.strerror, most)
    if plain := plain_reason(error):
        return plain
    text = re.sub(r"\[(?:Errno|WinError) -?\d+\]\s*", "", str(error))
    name = type(error).__name__
    return printable(f"{name}: {text}" if kind and text else text or name, most)


def plain_reason(error: BaseException) -> str:
    """What Python's own refusal of absurd content means, which says nothing to a user; empty of any other error."""
    text = str(error)
    if isinstance(error, RecursionError):
        return "lists or sequences within each other, too deep to be read"
    if isinstance(error, ValueError) and "integer string conversion" in text:
        return "a number of thousands of digits"
    if isinstance(error, ValueError) and "embedded null" in text:
        return "damaged: a zero byte where text is expected, as after a transfer as text"
    if "cannot convert float" in text or re.search(r"supplied range of .* is not finite", text):
        return "a value that is not finite (NaN or infinite)"
    return ""


def is_output_error(error: BaseException) -> bool:
    """Whether nothing more can be written (the disk is full or read-only), so that whatever comes next fails, too."""
    number = errno.ENOSPC if _DISK_FULL.search(str(error)) else getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


_ABSOLUTE = re.compile(r"(?<![\w.+])(?:[A-Za-z]:[\\/]|/)[^\s'\"()<>,;:]*[\\/][^\s'\"()<>,;]*")

#: Names of files that a file itself tells, such as that of its data.
_NAMED = re.compile(r"'[^']*\.[A-Za-z0-9]{1,5}'")


def hide_paths(text: str, paths: Iterable[str | os.PathLike[str]]) -> str:
    """`text` without these paths, their folders' and files' names, other absolute paths and quoted names of files.

    Paths tell patients' names, and a log is read by many. Libraries write them into their messages in many ways:
    whole, cut short, resolved, or the name alone.

    Parameters
    ----------
    text : str
    paths : iterable of path
    """
    names: set[str] = set()
    for path in (os.fspath(given) for given in paths):
        for whole in dict.fromkeys((*_whole_paths(path), path)):
            for form in dict.fromkeys((whole, printable(whole, 1 << 16), whole.replace("\\", "\\\\"))):
                text = _hide_beginnings(text, form)
        names |= {name for name in re.split(r"[\\/]", path) if name not in ("", ".", "..")}
    for name in sorted(names, key=len, reverse=True):
        found = "|".join(map(re.escape, dict.fromkeys((name, printable(name, 1 << 16)))))
        # A part of a path only: a folder may be called "i" or "a", or "4" where a message says 3/4.
        before, after = (
            (r"(?<=[\\/])", r"(?=[\\/])") if len(name) > 2 else (r"(?<!\w[\\/])(?<=[\\/])", r"(?=[\\/]\W|[\\/]$)")
        )
        text = re.sub(rf"{before}(?:{found})(?!\w)|(?<!\w)(?:{found}){after}", "...", text)
        if stem := re.fullmatch(r"(.+?)(?:\.\w{1,4}){1,2}", name):
            text = re.sub(rf"(?<!\w){re.escape(stem[1])}(?:\.\w{{1,4}}){{1,2}}(?!\w)", "...", text)
    return _ABSOLUTE.sub("...", _NAMED.sub("'...'", text))


def _whole_paths(path: str) -> list[str]:
    """A path with where links lead, and absolute; neither of one that the system cannot have (NUL, other letters)."""
    try:
        return [os.path.realpath(path), os.path.abspath(path)]  # noqa: PTH100
    except (OSError, ValueError):
        return []


def _hide_beginnings(text: str, path: str) -> str:
    """`text` without `path`, also where only its first part stands there: libraries and we cut messages short.

    Words that only begin like it stay: what stands there ends where the path, the text or a word ends.
    """
    parts = re.split(r"(?<=[\\/])", path)
    least = "".join(parts[:2]) if not parts[0].strip("\\/") else parts[0]
    if len(least) < 2:
        return text
    position = 0
    while (start := text.find(least, position)) >= 0:
        end = start + len(least)
        while end < len(text) and end - start < len(path) and text[end] == path[end - start]:
            end += 1
        inside = start > 0 and _in_word(text, start) and path[:1].isalnum()
        if inside or (end < len(text) and _in_word(text, end) and end - start < len(path)):
            position = start + 1
            continue
        text = f"{text[:start]}...{text[end:]}"
        position = start + 3
    return text


def _in_word(text: str, place: int) -> bool:
    """Whether a word goes on from before a place to after it."""
    return text[place - 1].isalnum() and text[place].isalnum()
