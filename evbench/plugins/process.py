"""A process that runs a file once and says what it holds, so that the parent runs nothing of it: it imports torch, and may crash."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from evbench.choices import PluginFile
from evbench.errors import UserError
from evbench.parent_death import end_with
from evbench.plugins.contents import Contents, contents_of
from evbench.plugins.faults import Blaming
from evbench.plugins.module import module_of


def main(parent: int, descriptor: int) -> None:
    """Answer one request, a PluginFile, with its Contents, or with the message of a UserError.

    Args:
        parent: process number. This process ends with it.
        descriptor: of the pipe.
    """
    end_with(parent)
    connection = Connection(descriptor)
    file: PluginFile = connection.recv()
    answer: Contents | str
    try:
        with Blaming([file]):
            answer = contents_of(module_of(file), file)
    except UserError as error:
        answer = str(error)
    connection.send(answer)


if __name__ == "__main__":
    # Under its importable name, so that the answer is of the classes that the parent knows.
    from evbench.plugins import process

    process.main(*map(int, sys.argv[1:]))
