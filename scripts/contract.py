"""Builds and checks the contract: `generate`, `check`, `lint`, `breaking`.

The imports of the contract come from Python packages: google.* as sources in
googleapis-common-protos (google.longrunning only as a descriptor), buf.validate as a
descriptor in protovalidate. So protoc builds
one image of it all, and buf works on that image.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import google.api
from google.longrunning import operations_proto_pb2 as operations_pb2
from google.protobuf import descriptor_pb2
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
COMMON = Path(google.api.__path__[0]).parent.parent
STUBS = ROOT / "client"
# Beside these, whoever installs the client may have left a copy of them in `build`.
PACKAGES = ("buf", "vafa")
DESCRIPTORS = Path("vafa") / "vafa.binpb"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", DESCRIPTORS.name)
# No file of the contract imports them, but what a refusal carries is one of these.
ERROR_DETAILS = "google/rpc/error_details.proto"


def write_descriptors(target: Path) -> None:
    """Write the imports that no package ships as a source under its name."""
    files = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(file: Any) -> None:
        for dependency in file.dependencies:
            add(dependency)
        if file.name not in seen:
            seen.add(file.name)
            files.file.add().ParseFromString(file.proto.to_binary())

    add(validate_pb.FieldPath.desc().file)
    files.file.add().ParseFromString(operations_pb2.DESCRIPTOR.serialized_pb)
    target.write_bytes(files.SerializeToString())


def protoc(protos: Path, *outputs: str, also: Sequence[str] = ()) -> None:
    """Run protoc over every file of the contract under protos, and over those imports."""
    names = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder) / "imports.binpb"
        write_descriptors(descriptors)
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"-I{COMMON}"]
        command += [f"--descriptor_set_in={descriptors}", *outputs, *names, *also]
        plugins = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        subprocess.run(command, check=True, env={**os.environ, "PATH": plugins})


def generate(target: Path) -> None:
    """Generate the Python stubs and the descriptor set into target."""
    protoc(
        ROOT / "proto",
        *(f"--{kind}_out={target}" for kind in ("python", "grpc_python")),
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
        # It has no Python module of its own for google.protobuf messages.
        also=["buf/validate/validate.proto"],
    )
    descriptors = f"-o{target / DESCRIPTORS}"
    protoc(ROOT / "proto", "--include_imports", descriptors, also=[ERROR_DETAILS])
    # Files without a service have an empty gRPC module, which nobody imports.
    for name, content in generated_files(target).items():
        if name.endswith("_pb2_grpc.py") and b"class " not in content:
            (target / name).unlink()
            (target / name).with_suffix(".pyi").unlink(missing_ok=True)


def generated_files(folder: Path) -> dict[str, bytes]:
    """Return the generated files of the packages in folder by their relative path."""
    paths = (
        path
        for package in PACKAGES
        for pattern in GENERATED
        for path in (folder / package).rglob(pattern)
    )
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def build_image(protos: Path, target: Path) -> None:
    """Write the contract with its imports and comments as one image for buf."""
    protoc(protos, "--include_imports", "--include_source_info", f"-o{target}")


def buf(*arguments: str) -> int:
    """Run buf and return its exit code."""
    executable = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"
    return subprocess.run([executable, *arguments], cwd=ROOT, check=False).returncode


def command_generate() -> int:
    """Renew the committed stubs and the descriptor set."""
    for name in generated_files(STUBS):
        (STUBS / name).unlink()
    generate(STUBS)
    return 0


def command_check() -> int:
    """Fail if the committed stubs or descriptors are not those of the contract."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, committed = generated_files(Path(folder)), generated_files(STUBS)
    stale = sorted(name for name in fresh | committed if fresh.get(name) != committed.get(name))
    for name in stale:
        print(f"client/{name} is not what the contract gives; run `make proto`")
    return int(bool(stale))


def command_lint() -> int:
    """Fail for a breach of the style of the contract or of its format."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contract.binpb"
        build_image(ROOT / "proto", image)
        lint = buf("lint", str(image), "--config", "buf.yaml", "--path", "vafa")
    return lint or buf("format", "proto", "--diff", "--exit-code")


def breaking_base() -> str:
    """Return what the contract must not break: the last release, or else the last commit."""
    tag = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v*"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return tag.stdout.strip() or "HEAD"


def breaks(old_protos: Path, new_protos: Path) -> int:
    """Compare two folders of the contract; not 0 if the new one breaks the old one."""
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old.binpb", Path(folder) / "new.binpb"
        build_image(old_protos, old)
        build_image(new_protos, new)
        arguments = ("--config", "buf.yaml", "--path", "vafa", "--exclude-imports")
        return buf("breaking", str(new), "--against", str(old), *arguments)


def command_breaking() -> int:
    """Fail if the contract breaks the callers of the last release."""
    base = breaking_base()
    archive = subprocess.run(
        ["git", "archive", base, "proto"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder:
        # Not by tarfile, which takes a filter since 3.11.4 alone; Debian 12 has an older Python.
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        return breaks(Path(folder) / "proto", ROOT / "proto")


COMMANDS = {
    "generate": command_generate,
    "check": command_check,
    "lint": command_lint,
    "breaking": command_breaking,
}

if __name__ == "__main__":
    sys.exit(COMMANDS[sys.argv[1]]())
