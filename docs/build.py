"""Builds the site: `python docs/build.py` (or `make docs`) writes docs/_build/site, in English and in Chinese, without a network.

`--messages` renews the files that translators work on, docs/locale; `--only en` builds one language. `--check` reads every page and says what is wrong or not
translated, without drawing or writing the site: in a third of the time.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
LOCALE = HERE / "locale" / "zh_CN" / "LC_MESSAGES"
ROOT = HERE.parent
LANGUAGES = {"en": "en", "zh": "zh_CN"}
KEPT = {"_build", "_ext", "_templates", "locale", "touch", "__pycache__"}
# documents of the repository that `_ext/reference.py` turns into pages
OTHERWISE = {"architecture.md", "gpu.md", "benchmarks.md", "error-budget.md", "build.py", "conf.py"}
sys.path.insert(0, str(HERE / "_ext"))


BUILD: Path
SOURCE: Path  # what Sphinx reads
GENERATED: Path  # of that, what is made of the registry
SITE: Path
MESSAGES: Path


def build_in(folder: Path) -> None:
    """Where everything goes that is made."""
    global BUILD, SOURCE, GENERATED, SITE, MESSAGES
    BUILD, SOURCE, GENERATED, SITE, MESSAGES = folder, folder / "source", folder / "generated", folder / "site", folder / "messages"


build_in(HERE / "_build")


def stage(drawn: bool = True) -> None:
    """Everything Sphinx reads: what stands here, and what is made of the registry, made anew only if something it is made of has changed. Pictures that are not
    drawn are empty files."""
    import committed
    import mentions
    import pages
    import pictures
    import reference
    import switching

    stamp = BUILD / "made-of"
    made_of = f"{digest()} {drawn}"
    if not (GENERATED.is_dir() and stamp.exists() and stamp.read_text() == made_of):
        shutil.rmtree(GENERATED, ignore_errors=True)
        pages.write(GENERATED, drawn)
        pictures.write(GENERATED, drawn)
        if drawn:
            committed.write(HERE / "_static")
        stamp.write_text(made_of)
    before = names()
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(HERE, SOURCE, ignore=lambda folder, found: (KEPT | OTHERWISE) & set(found) if Path(folder) == HERE else set())
    shutil.copytree(GENERATED, SOURCE, dirs_exist_ok=True)
    reference.write(SOURCE)
    switching.write(SOURCE)
    mentions.write(SOURCE)
    if names() != before:  # no page stays that is gone
        clear()


def digest() -> str:
    """What the pages of losses are made of: the package, what writes the pages, what was measured."""
    files = [*(ROOT / "src").rglob("*.py"), *(HERE / "_ext").rglob("*.py"), *(ROOT / "benchmarks" / "results").glob("*.json"), HERE / "error-budget.md"]
    return hashlib.sha256(b"".join(str(f).encode() + f.read_bytes() for f in sorted(files))).hexdigest()


def names() -> set[str]:
    """The pages there are."""
    return {str(f.relative_to(SOURCE)) for f in SOURCE.rglob("*.md")}


def clear() -> None:
    """Forget what Sphinx knows and wrote."""
    for folder in (SITE, *BUILD.glob("doctrees-*")):
        shutil.rmtree(folder, ignore_errors=True)


def sphinx(builder: str, target: Path, *options: str) -> subprocess.Popen[bytes]:
    """A run of Sphinx; warnings are errors."""
    command = [sys.executable, "-m", "sphinx", "-b", builder, "-c", str(HERE), "-W", "--keep-going", "-q", "-d", str(BUILD / f"doctrees-{target.name}")]
    return subprocess.Popen([*command, *options, str(SOURCE), str(target)])


def messages(renewed: bool) -> int:
    """The texts of all pages, and what is not translated of them. Renews docs/locale: what is new is untranslated there, what is gone is dropped."""
    from sphinx_intl import basic

    code = sphinx("gettext", MESSAGES).wait()
    if code:
        return code
    if renewed:
        import terminal

        basic.update(str(HERE / "locale"), str(MESSAGES), ["zh_CN"], line_width=160)
        terminal.write(LOCALE)
    found = untranslated()
    print("\n".join(found) or "every page is read, every text translated")
    return int(bool(found) and not renewed)


def untranslated() -> list[str]:
    """What docs/locale lacks."""
    import translation

    return translation.check(MESSAGES, LOCALE)


def entrance() -> None:
    """The first page, which leads to the reader's language."""
    (SITE / "index.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>losskit</title>'
        '<script>location.replace((navigator.language.startsWith("zh") ? "zh" : "en") + "/index.html")</script>'
        '<p><a href="en/index.html">English</a> <a href="zh/index.html" lang="zh">中文</a></p></html>\n',
        encoding="utf-8",
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", action="store_true", help="renew docs/locale")
    parser.add_argument("--check", action="store_true", help="read the pages, draw and write nothing")
    parser.add_argument("--into", type=Path, help="another folder than docs/_build")
    parser.add_argument("--only", choices=LANGUAGES, help="one language")
    chosen = parser.parse_args()
    start = time.perf_counter()
    if chosen.into:
        build_in(chosen.into.resolve())

    def say(what: str) -> None:
        print(f"{time.perf_counter() - start:6.1f} s  {what}", flush=True)

    say("a page per loss: formulas, curves, examples")
    stage(drawn=not (chosen.messages or chosen.check))
    if chosen.messages or chosen.check:
        return messages(renewed=chosen.messages)
    import touch

    languages = [chosen.only] if chosen.only else list(LANGUAGES)
    say(f"Sphinx: {' and '.join(languages)}")
    other = {name: next((one for one in languages if one != name), "") for name in languages}  # where a page leads whose reader speaks another language
    running = [sphinx("html", SITE / name, "-D", f"language={LANGUAGES[name]}", "-A", f"other={other[name]}") for name in languages]
    if "zh" in languages:
        running.append(sphinx("gettext", MESSAGES))
    codes = [process.wait() for process in running]
    entrance()
    touch.build(SITE / "touch", languages)
    if "zh" in languages and (found := untranslated()):
        print("\n".join(found), file=sys.stderr)
        codes.append(1)
    if any(codes):
        clear()  # a page that is not read again would not warn again
        say("failed: the warnings are above")
        return 1
    say(f"done: open {(SITE / 'index.html').relative_to(Path.cwd()) if SITE.is_relative_to(Path.cwd()) else SITE / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
