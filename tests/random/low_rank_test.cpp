// lozo and subzero: what makes them low rank, what stays in a frame, and what is refused.
//
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <variant>
#include <vector>

#include "io/temporary_folder.hpp"
#include "zoq/random/directions.hpp"
#include "zoq/random/seeds.hpp"

using zoq::any_direction;
using zoq::extent;
using zoq::index_t;
using zoq::lozo;
using zoq::seed_t;
using zoq::subzero;
using zoq::value_order;

namespace {

// Two matrices around a norm's five values: rows of 7 and 6 values do not fall on blocks of four.
constexpr extent tensors[] = {{0, 9, 7}, {63, 1, 5}, {68, 8, 6}};
constexpr value_order order{tensors, 3, 116};

template <class Z>
std::vector<double> values(const Z& z, seed_t seed, const value_order& of = order) {
  const auto field = z.at(seed, of);
  std::vector<double> out;
  for (index_t i = 0; i < of.size; ++i) {
    out.push_back(static_cast<double>(field.four(i / 4).at[i % 4]));
  }
  return out;
}

// The rank of the rows x columns matrix that starts at `first`, by elimination with full pivots.
int rank_of(std::vector<double> a, const extent& t) {
  const auto rows = static_cast<std::size_t>(t.rows), columns = static_cast<std::size_t>(t.columns);
  const auto at = [&](std::size_t r, std::size_t c) -> double& {
    return a[static_cast<std::size_t>(t.first) + r * columns + c];
  };
  int rank = 0;
  std::vector<bool> used(rows);
  for (std::size_t step = 0; step < std::min(rows, columns); ++step) {
    std::size_t row = 0, column = 0;
    double largest = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns && !used[r]; ++c) {
        if (std::fabs(at(r, c)) > largest) {
          largest = std::fabs(at(r, c));
          row = r;
          column = c;
        }
      }
    }
    if (largest < 1e-4) {  // elements of about 1, rounded to floats
      break;
    }
    used[row] = true;
    ++rank;
    for (std::size_t r = 0; r < rows; ++r) {
      const double times = used[r] ? 0.0 : at(r, column) / at(row, column);
      for (std::size_t c = 0; c < columns && times != 0; ++c) {
        at(r, c) -= times * at(row, c);
      }
    }
  }
  return rank;
}

template <class Z>
Z of_rank(int rank, seed_t frame = 3) {
  Z z;
  z.rank = rank;
  z.frame = frame;
  return z;
}

// Row-space test: whether the rows of b lie in the span of the rows of a, by the rank of both.
int rank_together(const std::vector<double>& a, const std::vector<double>& b, const extent& t) {
  std::vector<double> both(a.begin() + t.first, a.begin() + t.first + t.rows * t.columns);
  both.insert(both.end(), b.begin() + t.first, b.begin() + t.first + t.rows * t.columns);
  return rank_of(both, {0, 2 * t.rows, t.columns});
}

}  // namespace

TEST_CASE_TEMPLATE("low rank: every matrix has the rank that is set, or all that it can have", Z,
                   lozo, subzero) {
  for (const int rank : {1, 2, 5}) {
    const std::vector<double> z = values(of_rank<Z>(rank), 11);
    CHECK(rank_of(z, tensors[0]) == rank);
    CHECK(rank_of(z, tensors[2]) == rank);
  }
  CHECK(rank_of(values(of_rank<Z>(20), 11), tensors[2]) == 6);
}

TEST_CASE_TEMPLATE("low rank: what is no matrix gets standard normal values", Z, lozo, subzero) {
  const std::vector<double> z = values(of_rank<Z>(2), 11);
  const auto normal = zoq::gaussian::at(11, order);
  for (index_t i = 63; i < 68; ++i) {
    CHECK(z[static_cast<std::size_t>(i)] == static_cast<double>(normal.four(i / 4).at[i % 4]));
  }
}

TEST_CASE_TEMPLATE("low rank: within a frame all seeds share a row space, across frames not", Z,
                   lozo, subzero) {
  const Z z = of_rank<Z>(2);
  const std::vector<double> one = values(z, 11), two = values(z, 12);
  CHECK(one != two);
  const std::vector<double> other = values(of_rank<Z>(2, 4), 11);
  for (const extent& t : {tensors[0], tensors[2]}) {
    CHECK(rank_together(one, two, t) == 2);
    CHECK(rank_together(one, other, t) == 4);
  }
}

TEST_CASE_TEMPLATE("low rank: keyed by element, in any order of calls, fields and copies", Z, lozo,
                   subzero) {
  const Z z = of_rank<Z>(3);
  const std::vector<double> wanted = values(z, 5);
  const Z copy = z;
  (void)values(copy, 6);  // a copy's field is its own
  const auto field = z.at(5, order);
  (void)copy.at(7, order);
  for (index_t block = 28; block >= 0; --block) {
    for (index_t j = 0; j < 4; ++j) {
      CHECK(static_cast<double>(field.four(block).at[j]) ==
            wanted[static_cast<std::size_t>(4 * block + j)]);
    }
  }
  CHECK(values(Z(of_rank<Z>(3)), 5) == wanted);
}

TEST_CASE("subzero: the factors' columns are orthonormal") {
  std::vector<float> g = zoq::detail::normal_rows(1, 1, 0, 40, 6, 6);
  zoq::detail::orthonormalise(g, 6);
  for (std::size_t a = 0; a < 6; ++a) {
    for (std::size_t b = 0; b < 6; ++b) {
      double sum = 0;
      for (std::size_t row = 0; row < 40; ++row) {
        sum += static_cast<double>(g[6 * row + a]) * static_cast<double>(g[6 * row + b]);
      }
      CHECK(std::fabs(sum - (a == b ? 1.0 : 0.0)) < 1e-6);  // floats of at most 1
    }
  }
}

TEST_CASE(
    "direction_at: a frame for every `refresh` steps, of the run's seed, and others stay as they "
    "are") {
  const auto frame = [](seed_t run, std::uint64_t step) {
    return std::get<lozo>(zoq::direction_at(lozo{.refresh = 50}, run, step)).frame;
  };
  CHECK(frame(1, 0) == frame(1, 49));
  CHECK(frame(1, 50) == frame(1, 99));
  CHECK(frame(1, 49) != frame(1, 50));
  CHECK(frame(1, 0) != frame(2, 0));
  const any_direction z = zoq::direction_at(subzero{.rank = 3, .refresh = 7}, 1, 8);
  CHECK(std::get<subzero>(z).rank == 3);
  CHECK(std::get<subzero>(z).frame == zoq::derive_seed(1, zoq::purpose::frames, 1));
  CHECK(std::holds_alternative<zoq::sphere>(zoq::direction_at(zoq::sphere{}, 1, 8)));
  CHECK(zoq::test::message_of([] { zoq::direction_at(lozo{.refresh = 0}, 1, 8); }) ==
        "lozo: refresh is 0, wanted at least one step");
}

TEST_CASE_TEMPLATE("low rank: refused where there is no matrix, with what to use instead", Z, lozo,
                   subzero) {
  const std::string name(Z::name);
  const std::string instead = "; use gaussian, rademacher or sphere";
  const auto error_of = [](const Z& z, const value_order& of) {
    return zoq::test::message_of([&] { (void)z.at(1, of); });
  };
  constexpr extent rows[] = {{0, 1, 8}, {8, 1, 3}};
  CHECK(error_of(Z{}, {rows, 2, 11}) ==
        name +
            ": none of the 2 tensors of the view is a matrix (a sparse mask's values are single "
            "rows)" +
            instead);
  value_order keyed = order;
  const std::vector<index_t> key(116);
  keyed.key = key.data();
  CHECK(error_of(Z{}, keyed) ==
        name + ": the values of a matrix are a selection, which has no low rank" + instead);
  value_order device = order;
  device.on_host = false;
  CHECK(error_of(Z{}, device) ==
        name + ": its tables are in the host's memory, the values on a device" + instead);
  CHECK(error_of(of_rank<Z>(0), order).rfind(name + ": rank is 0, wanted ", 0) == 0);
}

TEST_CASE_TEMPLATE("low rank: matrices that a view leaves out never change those of the others", Z,
                   lozo, subzero) {
  const Z z = of_rank<Z>(2);
  const std::vector<double> all = values(z, 11);
  // Without the first matrix, and with two of the norm's five values.
  constexpr extent left[] = {{0, 1, 2}, {2, 8, 6}};
  std::vector<index_t> key = {64, 66};
  for (index_t i = 68; i < 116; ++i) {
    key.push_back(i);
  }
  const auto field = z.at(11, {left, 2, 50, key.data()});
  for (index_t i = 0; i < 50; ++i) {
    CHECK(static_cast<double>(zoq::four_of(field, key.data(), 50, i / 4).at[i % 4]) ==
          all[static_cast<std::size_t>(key[static_cast<std::size_t>(i)])]);
  }
}
