"""What is published for other languages is the contract, whole and by itself."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool

import vafa
from scripts.contract import ROOT, generated_files
from scripts.proto_source import source_of
from scripts.protos import pack

# Beside what `python -m grpc_tools.protoc` does, this looks nowhere but in the folder.
COMPILE = "import sys; from grpc_tools import protoc; sys.exit(protoc.main(['', *sys.argv[1:]]))"


def compiled(folder: Path, *outputs: str) -> None:
    """Run protoc on all files of a folder, with nothing else to find."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))
    command = [sys.executable, "-c", COMPILE, "-I.", *outputs, *names]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def by_name(
    files: descriptor_pb2.FileDescriptorSet,
) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    return {file.name: file for file in files.file}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder into which the archive was unpacked."""
    archive = pack(tmp_path_factory.mktemp("build") / "vafa-protos")
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    return folder


def test_every_method_and_every_detail_of_an_error_is_found_in_the_descriptor_set() -> None:
    pool = DescriptorPool()
    for file in vafa.descriptor_set().file:
        # Refused unless all that it imports was added before it.
        pool.Add(file)
    method = pool.FindMethodByName("vafa.loyalty.v1.LedgerService.SpendPoints")
    assert method.input_type.fields_by_name["points"].number == 2
    assert pool.FindMessageTypeByName("google.rpc.ErrorInfo")
    assert pool.FindMessageTypeByName("google.rpc.BadRequest")
    served = {path.parent.name for path in (ROOT / "proto" / "vafa").glob("*/v1")}
    assert served == {
        file.package.split(".")[1]
        for file in vafa.descriptor_set().file
        if file.package.startswith("vafa.")
    }


def test_the_descriptor_set_lies_in_the_package_of_the_client() -> None:
    packed = (files("vafa") / "vafa.binpb").read_bytes()
    assert descriptor_pb2.FileDescriptorSet.FromString(packed) == vafa.descriptor_set()


def test_the_archive_alone_compiles_to_the_published_descriptors(unpacked: Path) -> None:
    compiled(unpacked, "--include_imports", "-oagain.binpb")
    again = descriptor_pb2.FileDescriptorSet.FromString((unpacked / "again.binpb").read_bytes())
    assert by_name(again) == by_name(vafa.descriptor_set())


def test_stubs_are_made_from_the_archive_alone(unpacked: Path) -> None:
    (unpacked / "stubs").mkdir()
    compiled(unpacked, "--python_out=stubs", "--grpc_python_out=stubs")
    served = [file.name for file in vafa.descriptor_set().file if file.service]
    assert len(served) >= 11
    for name in served:
        stub = unpacked / "stubs" / f"{name.removesuffix('.proto')}_pb2_grpc.py"
        assert "Stub:" in stub.read_text()


def test_the_archive_brings_comments_descriptors_and_the_service_config(unpacked: Path) -> None:
    source = (unpacked / "vafa" / "contacts" / "v1" / "contacts.proto").read_text()
    assert source == (ROOT / "proto" / "vafa" / "contacts" / "v1" / "contacts.proto").read_text()
    assert (unpacked / "vafa.binpb").read_bytes() == (files("vafa") / "vafa.binpb").read_bytes()
    config = ROOT / "docs" / "api" / "service_config.json"
    assert (unpacked / "service_config.json").read_text() == config.read_text()


def test_equal_contents_make_an_equal_archive(tmp_path: Path) -> None:
    first = pack(tmp_path / "vafa-protos").read_bytes()
    assert pack(tmp_path / "vafa-protos").read_bytes() == first


def test_a_file_with_a_service_is_not_written_as_source() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="a.proto")
    file.service.add(name="Service")
    with pytest.raises(ValueError, match=r"a\.proto has a service"):
        source_of(file)


def test_what_an_installation_of_the_client_leaves_behind_is_not_taken_for_the_contract(
    tmp_path: Path,
) -> None:
    stub = Path("vafa/contacts/v1/contacts_pb2.py")
    for folder in (tmp_path, tmp_path / "build" / "lib"):
        (folder / stub).parent.mkdir(parents=True)
        (folder / stub).write_text("DESCRIPTOR = None")
    assert list(generated_files(tmp_path)) == [str(stub)]
