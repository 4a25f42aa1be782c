# mypy: ignore-errors
"""The Inspector's command line: each call is a process of its own.

The program (two words) and its options follow the headers.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from drive import Call, drive


@asynccontextmanager
async def connect(url: str, headers: dict[str, str]) -> AsyncIterator[Call]:
    """Yield how to call a tool."""
    words = [*sys.argv[4:6], "--cli", url, "--transport", "http", *sys.argv[6:]]
    for name, value in headers.items():
        words += ["--header", f"{name}: {value}"]

    async def call(tool: str, arguments: dict[str, Any]) -> tuple[bool, str]:
        given = [word for name, value in arguments.items() for word in ("--tool-arg", f"{name}={value}")]
        command = [*words, "--method", "tools/call", "--tool-name", tool, *given]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            process.send_signal(signal.SIGINT)
            await process.wait()
            raise
        try:
            result = json.loads(out)
        except json.JSONDecodeError:
            raise RuntimeError(f"exit code {process.returncode}: {(out + err).decode()[-1000:]}") from None
        result = result.get("result", result)
        return bool(result.get("isError")), result["content"][0]["text"]

    yield call


if __name__ == "__main__":
    drive(connect)
