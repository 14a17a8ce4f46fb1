#!/usr/bin/env python3
"""Turns storage/schema/NNN.sql into one C file: embed.py OUTPUT 001.sql 002.sql ...

The numbers must run 1, 2, 3 ... without a gap, for the number is the version that the database has after the file ran.
"""
import os
import sys


def literal(line):
    return '    "' + line.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?") + '\\n"\n'


def main():
    output, inputs = sys.argv[1], sys.argv[2:]
    parts = ['#include "storage/migrate.h"\n\n', "const char *const storage_schema[] = {\n"]
    for version, path in enumerate(inputs, 1):
        if os.path.basename(path) != "%03d.sql" % version:
            sys.exit("embed.py: %s is not number %03d" % (path, version))
        with open(path, encoding="utf-8") as source:
            parts.extend(literal(line.rstrip("\n")) for line in source)
        parts.append("    ,\n")
    parts.append("};\nconst int storage_schema_version = %d;\n" % len(inputs))
    with open(output, "w", encoding="utf-8") as target:
        target.write("".join(parts))


main()
