"""The metadata of a source, carried into its outputs without decoding them.

    metadata = read_metadata("photo.jpg")
    header = read_header(answer)
    segments = metadata_segments(metadata, header, orientation=tagged_orientation(header))
    splice(answer, output, header=header, segments=segments)
    set_modified("restored/improved/photo.jpg", modified_ns)

Where the metadata's orientation is not 1, `outputs.orientation.find_orientation` gives the output's.
"""

from __future__ import annotations

from smarty_async.archive.outputs.metadata.geometry import swaps_axes
from smarty_async.archive.outputs.metadata.jpeg import JpegError, JpegHeader, read_header
from smarty_async.archive.outputs.metadata.output_segments import (
    MetadataSegments,
    metadata_segments,
    stripped_segments,
    tagged_orientation,
)
from smarty_async.archive.outputs.metadata.read import read_metadata
from smarty_async.archive.outputs.metadata.source_metadata import SourceMetadata
from smarty_async.archive.outputs.metadata.splice import set_modified, splice, splice_bytes

__all__ = [
    "JpegError",
    "JpegHeader",
    "MetadataSegments",
    "SourceMetadata",
    "metadata_segments",
    "read_header",
    "read_metadata",
    "set_modified",
    "splice",
    "splice_bytes",
    "stripped_segments",
    "swaps_axes",
    "tagged_orientation",
]
