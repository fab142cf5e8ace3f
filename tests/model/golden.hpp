// The golden values of the tiny models, from a reference framework: see tests/golden/tiny_llama.py and
// the scripts beside it.
//
//     const std::vector<double> logits = zoq::test::golden()["next_token"]["logits_last"];
//     zoq::test::golden_of("gpt2")["next_token"]["loss"];
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace zoq::test {

/// Of the tiny model of this family.
inline nlohmann::json golden_of(const std::string& family) {
  std::ifstream in(std::string(ZOQ_TEST_GOLDEN_DIR) + "/tiny_" + family + ".json");
  return nlohmann::json::parse(in);
}

inline const nlohmann::json& golden() {
  static const nlohmann::json all = golden_of("llama");
  return all;
}

}  // namespace zoq::test
