// A new objective: the right choice must lead all others by a margin.
//
// Its last line: 3 reads in 4 rows, loss 0\.75
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <iostream>
#include <string_view>
#include <vector>
#include <zoq/io/row_kind.hpp>
#include <zoq/objective/objective.hpp>

// loss = max(0, margin - s[answer] + max of the other s), s the mean log-likelihood of a choice.
struct margin_loss {
  static constexpr std::string_view name = "margin";
  static constexpr std::string_view summary = "how much the right choice lacks of a lead";
  static constexpr std::string_view paper = "";
  static constexpr std::string_view cost = "a forward of the prompt and of each choice";
  static constexpr bool serves(zoq::row_kind kind) { return kind == zoq::row_kind::choice; }
  double margin = 1;

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("margin", self.margin);
  }

  static void pack(const zoq::example& row, zoq::packing& batch) {
    const zoq::index_t prompt = batch.add(row.prompt);
    for (const auto& choice : row.continuations) {
      zoq::pack_continuation(choice, prompt, batch);
    }
  }

  double loss(const zoq::example& row, std::span<const double> scores) const {
    std::vector<double> s = means(row, scores);
    const double right = s[static_cast<std::size_t>(row.answer)];
    s.erase(s.begin() + row.answer);
    return std::max(0.0, margin - right + *std::max_element(s.begin(), s.end()));
  }

  // Optional: with it, the share of rows with the right choice is measured too.
  static zoq::index_t choice(const zoq::example& row, std::span<const double> scores) {
    const std::vector<double> s = means(row, scores);
    return std::max_element(s.begin(), s.end()) - s.begin();
  }

 private:
  static std::vector<double> means(const zoq::example& row, std::span<const double> scores) {
    std::vector<double> out;
    for (const auto& choice : row.continuations) {
      double sum = 0;
      for (const double score : scores.first(choice.size())) {
        sum += score;
      }
      scores = scores.subspan(choice.size());
      out.push_back(sum / static_cast<double>(choice.size()));
    }
    return out;
  }
};
static_assert(zoq::choosing_objective<margin_loss>);

int main() {
  const zoq::example row{{5, 6, 7}, {{8, 9}, {10}}, 1};
  zoq::packing batch;
  margin_loss::pack(row, batch);
  const std::vector<double> scores = {-1, -2, -1.25};  // of the three tokens that are read
  const double loss = margin_loss{}.loss(row, scores);
  std::cout << batch.reads.size() << " reads in " << batch.rows() << " rows, loss " << loss << "\n";
  return batch.reads.size() == 3 && batch.rows() == 4 && loss == 0.75 &&
                 margin_loss::choice(row, scores) == 1
             ? 0
             : 1;
}
