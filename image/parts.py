#!/usr/bin/env python3
"""What the image is made of: compares Debian's packages with the lock file, and writes the SBOM
(CycloneDX 1.6), the licences of the Rust crates, and the largest parts."""

import argparse
import collections
import hashlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import uuid

PROGRAMS = ["nabi-console", "nabi-supervisor", "nabi-gateway", "nabi-engine-llama", "nabi-import", "nabi-probe", "nabi-setup"]
LARGEST = 10
# Of mkosi.finalize: the root's files, each with its size in bytes and its path after a tab.
FILES = "files.tsv"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="mkosi's output folder")
    parser.add_argument("--version", required=True)
    parser.add_argument("--cargo", type=pathlib.Path, required=True, help="folder of the Cargo workspace")
    parser.add_argument("--packages", type=pathlib.Path, required=True, help="mkosi's cache of Debian packages")
    parser.add_argument("--lock", type=pathlib.Path, required=True)
    parser.add_argument("--epoch", type=int, required=True, help="the build's time, Unix seconds")
    arguments = parser.parse_args()

    files = debian_packages(arguments.out, arguments.packages)
    debian = {key: hashlib.sha256(file.read_bytes()).hexdigest() for key, file in files.items()}
    compare_lock(arguments.lock, debian, arguments.out / "packages.lock")
    crates = rust_crates(arguments.cargo)
    name = f"nabi_{arguments.version}"
    sbom = cyclonedx(name, arguments.version, debian, crates)
    write_json(arguments.out / f"{name}.cdx.json", sbom)
    write_licences(arguments.out / "rust-licences.tar", crates, arguments.epoch)
    write_json(arguments.out / f"{name}.parts.json", largest(files, arguments.out, name))


def debian_packages(out, cache):
    """The image's packages and its initrd's: (name, version, architecture) to their files."""
    files = {file.name: file for file in cache.rglob("*.deb")}
    found = {}
    for manifest in sorted(out.glob("*.manifest")):
        for package in json.loads(manifest.read_text())["packages"]:
            key = (package["name"], package["version"], package["architecture"])
            file = files.get("{}_{}_{}.deb".format(key[0], key[1].replace(":", "%3a"), key[2]))
            if file is None:
                sys.exit(f"image: {' '.join(key)} is in the image, but its file is not in {cache}: build with --fresh")
            found[key] = file
    return dict(sorted(found.items()))


def compare_lock(lock, debian, fresh):
    """Writes the lock file of this build, and says what differs from the repository's."""
    lines = [" ".join((*key, sha256)) for key, sha256 in debian.items()]
    fresh.write_text("\n".join(lines) + "\n")
    before = lock.read_text().split("\n")[:-1] if lock.exists() else []
    gone, new = sorted(set(before) - set(lines)), sorted(set(lines) - set(before))
    for line in gone:
        print(f"image: locked, but not in this build: {line}", file=sys.stderr)
    for line in new:
        print(f"image: in this build, but not locked: {line}", file=sys.stderr)
    if gone or new:
        print(f"image: {len(new)} packages differ from {lock.name}: these are other bits. "
              "If that is wanted: make image-lock", file=sys.stderr)


def rust_crates(workspace):
    """The crates that our programs are built of, without those of tests and build scripts' own tests."""
    metadata = json.loads(subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"],
        cwd=workspace, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    pending = [id for id, package in packages.items() if package["name"] in PROGRAMS]
    reached = set()
    while pending:
        id = pending.pop()
        if id in reached:
            continue
        reached.add(id)
        for dependency in nodes[id]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                pending.append(dependency["pkg"])
    return sorted((packages[id] for id in reached), key=lambda package: (package["name"], package["version"]))


def cyclonedx(name, version, debian, crates):
    checksums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in lock_entries()}
    components = [{
        "type": "library", "name": package, "version": number,
        "purl": f"pkg:deb/debian/{package}@{number}?arch={architecture}&distro=trixie",
        "hashes": [{"alg": "SHA-256", "content": sha256}],
    } for (package, number, architecture), sha256 in debian.items()]
    for crate in crates:
        component = {
            "type": "library", "name": crate["name"], "version": crate["version"],
            "purl": f"pkg:cargo/{crate['name']}@{crate['version']}",
        }
        if crate["license"]:
            component["licenses"] = [{"expression": crate["license"].replace("/", " OR ")}]
        if checksum := checksums.get((crate["name"], crate["version"])):
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        components.append(component)
    content = json.dumps(components, sort_keys=True).encode()
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        # Of the content, so that the same image has the same one.
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(content).hexdigest()).urn,
        "metadata": {"component": {"type": "operating-system", "name": "nabi", "version": version, "bom-ref": name}},
        "components": components,
    }


def lock_entries():
    """Of Cargo.lock, which Python 3.11's tomllib reads."""
    import tomllib
    return tomllib.loads((pathlib.Path(__file__).parent.parent / "Cargo.lock").read_text())["package"]


def write_licences(path, crates, epoch):
    with tarfile.open(path, "w") as archive:
        for crate in crates:
            folder = pathlib.Path(crate["manifest_path"]).parent
            for file in sorted(folder.iterdir()):
                if file.is_file() and re.match(r"(?i)(licen[cs]e|copying|notice|copyright)", file.name):
                    content = file.read_bytes()
                    entry = tarfile.TarInfo(f"{crate['name']}-{crate['version']}/{file.name}")
                    entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
                    archive.addfile(entry, io.BytesIO(content))


def largest(files, out, name):
    """What takes most space: Debian's packages, our files, and files that were made here, each as it is in
    the root before compression; the kernel image, with its initrd, as it is on the ESP."""
    owners = {}
    for (package, _, _), file in files.items():
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", file], stdout=subprocess.PIPE) as unpack:
            for entry in tarfile.open(fileobj=unpack.stdout, mode="r|"):
                owners[entry.name.removeprefix("./")] = package
    sizes = collections.Counter({f"{name}.efi": (out / f"{name}.efi").stat().st_size})
    for line in (out / FILES).read_text().splitlines():
        size, path = line.split("\t", 1)
        ours = re.match(r"usr/lib/nabi/[^/]+", path)
        sizes[f"/{ours[0]}" if ours else owners.get(path, f"/{path}")] += int(size)
    return [{"part": part, "bytes": size} for part, size in sizes.most_common(LARGEST)]


def write_json(path, content):
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
