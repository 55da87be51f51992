"""Results on disk: a line for each point, written as it is known."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hwgen.errors import ConfigError

ABOUT, POINTS, CHOSEN = "exploration.json", "points.jsonl", "pareto"


class Store:
    """A folder of an exploration: what is explored, and the points so far.

    Raises `ConfigError` where the folder holds another exploration, or anything else.
    """

    def __init__(self, folder: Path, about: Mapping) -> None:
        self.folder = folder
        self.records: list[dict] = []
        try:
            self._open(json.loads(json.dumps(about)))
        except OSError as error:
            raise ConfigError(f"can't write {folder}: {error.strerror or error}") from error

    def _open(self, about: dict) -> None:
        path = self.folder / ABOUT
        if path.is_file():
            self._compare(path, about)
            self.records = self._read()
            return
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise ConfigError(
                f"{self.folder} holds files that are no exploration; choose another folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(ABOUT, json.dumps(about, indent=1) + "\n")

    def _compare(self, path: Path, about: dict) -> None:
        try:
            there = json.loads(path.read_text())
            keys = [k for k in dict.fromkeys((*about, *there)) if k != "sha256"]
            differ = [k for k in keys if there.get(k) != about.get(k)]
            hashes = there.get("sha256", {}), about["sha256"]
            differ += [f"content of {k}" for k, v in hashes[1].items() if hashes[0].get(k) != v]
        except (ValueError, AttributeError) as error:
            raise ConfigError(f"{path} is damaged: {error}; choose another folder") from error
        if differ:
            raise ConfigError(
                f"{self.folder} holds an exploration with another {', '.join(differ)}; choose "
                "another folder with -o, or delete it"
            )

    def _read(self) -> list[dict]:
        """All whole lines; what a killed process left of a line is cut off."""
        path = self.folder / POINTS
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        try:
            records = [json.loads(line) for line in whole.splitlines()]
            for record in records:
                record["point"].items(), record["objectives"], record["feasible"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path} is damaged: {error}; choose another folder") from error
        return records

    def append(self, record: dict) -> None:
        """Keep a point: one write of one line."""
        self.records.append(record)
        line = (json.dumps(record) + "\n").encode()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        try:
            file = os.open(self.folder / POINTS, flags, 0o666)
            try:
                os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise ConfigError(f"can't write {self.folder}: {error.strerror}") from error

    def rewrite(self) -> None:
        """The records as they are now, in the place of those written before."""
        self._write(POINTS, "".join(json.dumps(record) + "\n" for record in self.records))

    def configurations(self, texts: Sequence[str]) -> None:
        """Configurations of the chosen points, as pareto/1.toml and so on, instead of older
        ones."""
        folder = self.folder / CHOSEN
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.toml"):
            path.unlink()
        for number, text in enumerate(texts, 1):
            self._write(f"{CHOSEN}/{number}.toml", text)

    def _write(self, name: str, text: str) -> None:
        """A whole file or none."""
        target = self.folder / name
        handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(target)
