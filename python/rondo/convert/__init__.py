# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`rondo convert`: checkpoints into other checkpoints, before anything is compiled."""
