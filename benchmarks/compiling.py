# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times the compiler beside a copy of the file, and watches its memory."""
