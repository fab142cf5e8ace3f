// SPDX-License-Identifier: Apache-2.0
// The model, rows and text of cli/workshop.hpp, for tests that are no C++ program.
//
//     crash_workshop FOLDER
//
#include "cli/workshop.hpp"

int main(int count, char** arguments) {
  if (count != 2) {
    return 2;
  }
  zoq::test::furnish(arguments[1]);
  return 0;
}
