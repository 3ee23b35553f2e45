"""Where finished videos are kept: a folder, or a place in object storage. Each is there whole, or not at all."""

from .folder import FolderStorage
from .kept import OnStore, Storage, Stored, kept_name, part_of
from .objects import ObjectStorage
from .opening import storage_of

__all__ = ["FolderStorage", "ObjectStorage", "OnStore", "Storage", "Stored", "kept_name", "part_of", "storage_of"]
