"""The contract as descriptors, for whoever reads it at run time or hands it to other tools."""

from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorSet


def descriptor_set() -> FileDescriptorSet:
    """Return the files of the contract, and before each those that it imports.

    The messages in the details of errors, google.rpc.ErrorInfo and others, are there too;
    comments are not. The file `vafa.binpb` of this package is the same, serialized.
    """
    return FileDescriptorSet.FromString((files("vafa") / "vafa.binpb").read_bytes())
