"""Folders: a contract of import-linter for a room whose folders are found, and named nowhere."""

from __future__ import annotations

import importlib
import pkgutil

from grimp import ImportGraph
from importlinter import ContractCheck, fields
from importlinter.contracts.independence import IndependenceContract
from importlinter.domain.imports import ModuleExpression


class Folders(IndependenceContract):
    """No folder of a room imports another of them, not even through others; files of the room may import any.

    Attributes
    ----------
    room : the package whose folders these are
    """

    type_name = "folders"
    room = fields.StringField()
    modules = fields.SetField(subfield=fields.ModuleExpressionField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find the folders, and hold them to the contract."""
        places = importlib.import_module(self.room).__path__[:1]
        self.modules = {
            ModuleExpression(f"{self.room}.{each.name}") for each in pkgutil.iter_modules(places) if each.ispkg
        }
        return super().check(graph, verbose)
