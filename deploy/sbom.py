#!/usr/bin/env python3
"""Lists what is in the binary for a target as CycloneDX 1.5 on standard output.

From Cargo.lock as cargo resolves it: the crates that are compiled into ddrop, with version, digest, licence and what
each needs. Crates for tests, benchmarks and other systems are not in the binary and not in the list.
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums, kind):
    entry = {
        "type": kind,
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
        "scope": "required",
    }
    if package.get("license"):
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def main():
    target = sys.argv[1] if len(sys.argv) > 1 else "x86_64-unknown-linux-gnu"
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    lock = (ROOT / "Cargo.lock").read_bytes()
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.loads(lock.decode())["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    top = metadata["resolve"]["root"]
    needs, waiting = {}, [top]
    while waiting:
        at = waiting.pop()
        if at in needs:
            continue
        # `kind` is null for what is linked; a macro's own needs run in the compiler and are kept: they made the code.
        linked = [d["pkg"] for d in nodes[at]["deps"] if any(k["kind"] in (None, "build") for k in d["dep_kinds"])]
        needs[at] = linked
        waiting.extend(linked)
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", "0"))))
    name = uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(lock).hexdigest() + target)
    listed = sorted((packages[i] for i in needs if i != top), key=lambda p: (p["name"], p["version"]))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{name}",
        "version": 1,
        "metadata": {
            "timestamp": made,
            "component": component(packages[top], checksums, "application"),
            "properties": [{"name": "target", "value": target}],
        },
        "components": [component(package, checksums, "library") for package in listed],
        "dependencies": sorted(
            (
                {"ref": reference(packages[i]), "dependsOn": sorted({reference(packages[d]) for d in needs[i]})}
                for i in needs
            ),
            key=lambda entry: entry["ref"],
        ),
    }
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
