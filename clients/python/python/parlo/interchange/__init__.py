"""Tokens to and from the files that training reads: npz, safetensors, Arrow and Parquet, WebDataset shards.

An `Item` is one recording's tokens with its id, its model and what else is known. Every format holds all of it, reads
back exactly, and is refused with `InterchangeError` if it is damaged or of another model than `expect`.
"""

from parlo.interchange.arrays import read_npz, read_safetensors, write_npz, write_safetensors
from parlo.interchange.arrow import from_table, read_parquet, schema, to_table, write_parquet
from parlo.interchange.items import InterchangeError, Item, Model, from_file
from parlo.interchange.shards import read_shards, write_shards

__all__ = [
    "InterchangeError",
    "Item",
    "Model",
    "from_file",
    "from_table",
    "read_npz",
    "read_parquet",
    "read_safetensors",
    "read_shards",
    "schema",
    "to_table",
    "write_npz",
    "write_parquet",
    "write_safetensors",
    "write_shards",
]
