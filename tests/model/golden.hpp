// The golden values of the tiny model, from a reference framework: see tests/golden/tiny_llama.py.
//
//     const std::vector<double> logits = zoq::test::golden()["next_token"]["logits_last"];
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace zoq::test {

inline const nlohmann::json& golden() {
  static const nlohmann::json all = [] {
    std::ifstream in(std::string(ZOQ_TEST_GOLDEN_DIR) + "/tiny_llama.json");
    return nlohmann::json::parse(in);
  }();
  return all;
}

}  // namespace zoq::test
