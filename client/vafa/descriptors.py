"""The contract as descriptors, for whoever reads it at run time or hands it to other tools."""

from functools import cache
from importlib import import_module
from importlib.resources import files

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet


def descriptor_set() -> FileDescriptorSet:
    """Return the files of the contract, and before each those that it imports.

    The messages in the details of errors, google.rpc.ErrorInfo and others, are there too;
    comments are not. The file `vafa.binpb` of this package is the same, serialized.
    """
    return FileDescriptorSet.FromString((files("vafa") / "vafa.binpb").read_bytes())


@cache
def served_files() -> tuple[FileDescriptor, ...]:
    """Return the files of the contract in which gRPC services stand, by their names."""
    served = [file for file in descriptor_set().file if file.service]
    # Those of google.longrunning, which is not ours, are left out.
    names = sorted(file.name for file in served if file.package.startswith("vafa."))
    modules = (name.removesuffix(".proto").replace("/", ".") + "_pb2" for name in names)
    return tuple(import_module(module).DESCRIPTOR for module in modules)
