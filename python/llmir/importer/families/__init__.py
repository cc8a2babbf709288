# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The model families that LLMIR imports, one file each.

A file defines `FAMILY`, a `llmir.importer.registry.Family`; the file's presence
registers it.
"""
