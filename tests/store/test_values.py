"""Values of rows: what stands where."""

from __future__ import annotations

import re
from dataclasses import fields

from fxsftp.domain.model import File
from fxsftp.store.registry.values import FIELDS, FILE


def test_the_columns_of_a_file_stand_in_the_order_of_its_fields() -> None:
    """By their places they are taken."""
    columns = [re.sub(r".* AS ", "", column.strip()) for column in FILE.split(",")]
    assert columns == [field.name for field in fields(File)]
    assert len(columns) == FIELDS
