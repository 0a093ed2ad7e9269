"""Packs the contract for other languages: `.build/vafa-protos` and the archive of it.

It holds the .proto files with everything that they import, so that a protoc of any language
works on them offline, the descriptor set, and the gRPC service config. Equal contents make an
equal archive.
"""

import gzip
import io
import shutil
import sys
import tarfile
from pathlib import Path

import google.longrunning
import grpc_tools
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
# Run as a file, it finds what lies beside it but not the folder that both lie in.
sys.path.insert(0, str(ROOT))
from scripts.contract import COMMON, DESCRIPTORS, STUBS  # noqa: E402
from scripts.proto_source import source_of  # noqa: E402

FOLDER = ROOT / ".build" / "vafa-protos"
# Beside the .proto files, what else other languages use.
ALONGSIDE = (STUBS / DESCRIPTORS, ROOT / "docs" / "api" / "service_config.json")
INCLUDED = Path(grpc_tools.__path__[0]) / "_proto"
# The package gives this one under another name.
OPERATIONS = Path(google.longrunning.__path__[0]) / "operations_proto.proto"


def sources() -> dict[str, bytes]:
    """Return the contents of the .proto files by their names; each import is among them."""
    files = descriptor_pb2.FileDescriptorSet.FromString((STUBS / DESCRIPTORS).read_bytes())
    return {file.name: _source(file) for file in files.file}


def _source(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    if file.name == "google/longrunning/operations.proto":
        return OPERATIONS.read_bytes()
    for folder in (ROOT / "proto", COMMON, INCLUDED):
        if (folder / file.name).exists():
            return (folder / file.name).read_bytes()
    return source_of(file).encode()


def pack(folder: Path) -> Path:
    """Write the folder anew, and its archive beside it; return the path of the archive."""
    contents = sources() | {path.name: path.read_bytes() for path in ALONGSIDE}
    shutil.rmtree(folder, ignore_errors=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(contents.items()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            # Neither the time nor the owner of the build is told: they would make it another.
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    target = folder.with_name(folder.name + ".tar.gz")
    target.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return target


if __name__ == "__main__":
    print(pack(FOLDER).relative_to(ROOT))
