"""A YAML loader with a limit on nesting. Used by `settings` and `emulator`."""

from __future__ import annotations

from typing import Any, cast

import yaml

MAX_DEPTH = 40
TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"


class BoundedLoader(yaml.SafeLoader):
    """Refuses documents that are nested more than `MAX_DEPTH` levels deep.

    Without the limit, the depth of the stack decides, which differs between Python versions.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node and its descendants. Raises `yaml.MarkedYAMLError`."""
        if self._depth > MAX_DEPTH:
            mark = cast("Any", self).peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=TOO_DEEP, problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node
