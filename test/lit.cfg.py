# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Configures lit: every file here runs one of the tools and FileCheck."""

import os

import lit.formats

config.name = "LLMIR"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = config.llmir_test_dir
config.environment["PATH"] = os.pathsep.join(
    [config.llmir_tools_dir, config.llvm_tools_dir, config.environment["PATH"]]
)
