// All headers, of which nothing is used.
// SPDX-License-Identifier: Apache-2.0
#include <zoq/io.hpp>
#include <zoq/zoq.hpp>

int main() {}
