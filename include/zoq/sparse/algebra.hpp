// Masks and deltas as sets: what refreshed masks, hybrids and masks of several tasks are made with.
//
//     zoq::mask both = zoq::intersection(a, b);
//     zoq::mask some = zoq::restricted(a, [](std::string_view tensor) { return ...; });
//     auto [tuned, frozen] = zoq::refreshed({delta, frozen}, new_mask);
//     zoq::delta model = zoq::merged(frozen, tuned);      // what is added to the base, all of it
//
// Tensors are matched by name; shapes must agree. Results name the model of the first; tensors stand
// in its order, then those that only the second has. Where a mask is made again during tuning, as in
// RigL (Evci et al., arXiv 1911.11134), what was learnt at places that leave must not be lost: it stays
// in a frozen delta beside the tuned one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/sparse/delta.hpp"
#include "zoq/sparse/mask.hpp"

namespace zoq {

/// Places of a or b.
mask united(const mask& a, const mask& b);

/// Places of a and b.
mask intersection(const mask& a, const mask& b);

/// Places of a that are none of b's.
mask difference(const mask& a, const mask& b);

/// The tensors whose names `keep` is true for.
template <class Keep>
mask restricted(const mask& m, Keep&& keep) {
  mask out{{}, m.model_hash, m.about};
  for (const tensor_mask& t : m.tensors) {
    if (keep(std::string_view(t.tensor))) {
      out.tensors.push_back(t);
    }
  }
  return out;
}

/// The values of `d` at `places`; 0 where it has none. Linear in both.
delta at_places(const delta& d, const mask& places);

/// The sum of two deltas, on the union of their places.
delta merged(const delta& a, const delta& b);

/// A delta's tensors whose names `keep` is true for.
template <class Keep>
delta restricted(const delta& d, Keep&& keep) {
  return at_places(d, restricted(d.places, keep));
}

/// What a tuned model is beside its base: values that go on being tuned, and values that do not. No
/// place is in both.
struct tuned_and_frozen {
  delta tuned;   // goes on
  delta frozen;  // stays as it is
};

/// A new mask of tuned places. What stood there, tuned or frozen, goes on from its value; the others'
/// values are frozen. The sum of both deltas is unchanged at every place, to the bit.
tuned_and_frozen refreshed(const tuned_and_frozen& before, const mask& places);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <iterator>
#include <utility>

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

/// The tensor of this name, or an empty one of the same shape. Throws when the shapes differ.
ZOQ_BODY tensor_mask same_tensor(const mask& in, const tensor_mask& like) {
  for (const tensor_mask& t : in.tensors) {
    if (t.tensor == like.tensor) {
      require(t.rows == like.rows && t.columns == like.columns, "masks: ", t.tensor, " is ", t.rows,
              " x ", t.columns, " in one and ", like.rows, " x ", like.columns, " in the other");
      return t;
    }
  }
  return {like.tensor, like.rows, like.columns, {}};
}

ZOQ_BODY bool has_tensor(const mask& in, std::string_view name) {
  return std::any_of(in.tensors.begin(), in.tensors.end(),
                     [&](const tensor_mask& t) { return t.tensor == name; });
}

/// Combine(a's indices, b's indices, out) over all tensors of a.
template <class Combine>
mask combined(const mask& a, const mask& b, Combine&& combine) {
  mask out;
  out.model_hash = a.model_hash.empty() ? b.model_hash : a.model_hash;
  require(a.model_hash.empty() || b.model_hash.empty() || a.model_hash == b.model_hash,
          "masks: made for the models ", a.model_hash, " and ", b.model_hash);
  for (const tensor_mask& t : a.tensors) {
    tensor_mask one{t.tensor, t.rows, t.columns, {}};
    combine(t.index, same_tensor(b, t).index, one.index);
    out.tensors.push_back(std::move(one));
  }
  return out;
}

}  // namespace detail

ZOQ_BODY mask united(const mask& a, const mask& b) {
  mask out = detail::combined(a, b, [](const auto& x, const auto& y, auto& to) {
    std::set_union(x.begin(), x.end(), y.begin(), y.end(), std::back_inserter(to));
  });
  for (const tensor_mask& t : b.tensors) {
    if (!detail::has_tensor(a, t.tensor)) {
      out.tensors.push_back(t);
    }
  }
  return out;
}

ZOQ_BODY mask intersection(const mask& a, const mask& b) {
  return detail::combined(a, b, [](const auto& x, const auto& y, auto& to) {
    std::set_intersection(x.begin(), x.end(), y.begin(), y.end(), std::back_inserter(to));
  });
}

ZOQ_BODY mask difference(const mask& a, const mask& b) {
  return detail::combined(a, b, [](const auto& x, const auto& y, auto& to) {
    std::set_difference(x.begin(), x.end(), y.begin(), y.end(), std::back_inserter(to));
  });
}

ZOQ_BODY delta at_places(const delta& d, const mask& places) {
  require(d.places.count() == static_cast<index_t>(d.values.size()), "delta: ", d.values.size(),
          " values for ", d.places.count(), " places");
  delta out{places, {}};
  for (const tensor_mask& t : places.tensors) {
    std::size_t first = 0;
    const tensor_mask* from = nullptr;
    for (const tensor_mask& u : d.places.tensors) {
      if (u.tensor == t.tensor) {
        from = &u;
        break;
      }
      first += u.index.size();
    }
    std::size_t i = 0;
    for (const auto place : t.index) {
      while (from != nullptr && i < from->index.size() && from->index[i] < place) {
        ++i;
      }
      const bool there = from != nullptr && i < from->index.size() && from->index[i] == place;
      out.values.push_back(there ? d.values[first + i] : 0.0f);
    }
  }
  return out;
}

ZOQ_BODY delta merged(const delta& a, const delta& b) {
  delta out = at_places(a, united(a.places, b.places));
  const delta other = at_places(b, out.places);
  for (std::size_t i = 0; i < out.values.size(); ++i) {
    out.values[i] += other.values[i];
  }
  return out;
}

ZOQ_BODY tuned_and_frozen refreshed(const tuned_and_frozen& before, const mask& places) {
  const delta all = merged(before.frozen, before.tuned);
  return {at_places(all, places), at_places(all, difference(all.places, places))};
}

}  // namespace zoq

#endif
