# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times LLMIR beside other engines on the same weights; see docs/performance.md."""
