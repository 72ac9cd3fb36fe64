// Kernels of layers that hold only their links, for JAX's foreign-function interface on CPUs.
//
// A layer is the sum  T = sum_l  w[l] * sum_b x[b, source[l]] * y[b, target[l]].  Each kernel is its
// derivative with respect to one of the three operands, given the two others: with respect to y it
// is the forward pass, with respect to x and w the two halves of the backward pass.
//
// The batch is turned into panels [neurons][lanes], so that a link is one multiply-add on `lanes`
// numbers that lie side by side. One thread writes each number: nothing races. Buffers belong to a
// thread and are kept, since fresh memory of this size costs as much as the kernel.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

#define INLINE inline __attribute__((always_inline))

// One library serves machines of different age that share a folder: each function is compiled for
// several instruction sets, and the loader takes the best that the processor has.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(PRUNEJAX_PLAIN)
#define CLONES __attribute__((target_clones("avx512f", "fma", "default")))
#else
#define CLONES
#endif

namespace {

constexpr std::size_t kBytes = 64;  // of one vector: the widest register, and a cache line

template <typename T>
struct Vector {
  typedef T type __attribute__((vector_size(kBytes), may_alias));
};

template <typename T>
constexpr std::int64_t kLanes = kBytes / sizeof(T);

// Memory that grows and is kept.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  template <typename T>
  T* of(std::size_t count) {
    std::size_t bytes = (count * sizeof(T) + kBytes - 1) / kBytes * kBytes + kBytes;
    if (bytes > size_) {
      std::free(data_);
      size_ = 0;
      data_ = std::aligned_alloc(kBytes, bytes);
      if (data_ == nullptr) throw std::bad_alloc();
      size_ = bytes;
    }
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

enum { kFirstPanel, kSecondPanel, kStarts, kOthers, kValues, kBuffers };

template <typename T>
T* buffer(int which, std::int64_t count) {
  thread_local Scratch kept[kBuffers];
  return kept[which].of<T>(static_cast<std::size_t>(count));
}

// The links that lead to each row: those of row r are starts[r] ... starts[r + 1] - 1.
template <typename T>
struct Rows {
  const std::int32_t* starts;
  const std::int32_t* others;  // the neuron at the other end
  const T* values;
};

// Groups links by one of their ends, in time and memory of the order of the links and the rows.
template <typename T>
Rows<T> grouped(const std::int32_t* ends, const std::int32_t* others, const T* values,
                std::int64_t links, std::int64_t rows) {
  auto* starts = buffer<std::int32_t>(kStarts, rows + 2);
  std::fill(starts, starts + rows + 2, 0);
  bool sorted = true;
  for (std::int64_t l = 0; l < links; ++l) {
    ++starts[ends[l] + 2];
    sorted &= l == 0 || ends[l - 1] <= ends[l];
  }
  for (std::int64_t r = 2; r < rows + 2; ++r) starts[r] += starts[r - 1];
  if (sorted) return {starts + 1, others, values};
  auto* placed = buffer<std::int32_t>(kOthers, links);
  auto* moved = buffer<T>(kValues, links);
  for (std::int64_t l = 0; l < links; ++l) {  // starts[r + 1] runs from row r's begin to its end
    std::int32_t place = starts[ends[l] + 1]++;
    placed[place] = others[l];
    moved[place] = values[l];
  }
  return {starts, placed, moved};
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLES 1
#endif
#endif

// to[column * to_stride + row] = from[row * from_stride + column]
template <typename T>
INLINE void transpose(const T* from, std::int64_t from_stride, std::int64_t rows,
                      std::int64_t columns, T* to, std::int64_t to_stride) {
  std::int64_t whole_rows = 0, whole_columns = 0;
#ifdef SHUFFLES
  if constexpr (sizeof(T) == 4) {
    typedef T Four __attribute__((vector_size(16)));
    whole_rows = rows / 4 * 4;
    whole_columns = columns / 4 * 4;
    for (std::int64_t column = 0; column < whole_columns; column += 4) {
      for (std::int64_t row = 0; row < whole_rows; row += 4) {
        const T* source = from + row * from_stride + column;
        Four a, b, c, d;
        std::memcpy(&a, source, 16);
        std::memcpy(&b, source + from_stride, 16);
        std::memcpy(&c, source + 2 * from_stride, 16);
        std::memcpy(&d, source + 3 * from_stride, 16);
        Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
        Four cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
        Four above_ab = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        Four above_cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
        a = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
        b = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
        c = __builtin_shufflevector(above_ab, above_cd, 0, 1, 4, 5);
        d = __builtin_shufflevector(above_ab, above_cd, 2, 3, 6, 7);
        T* target = to + column * to_stride + row;
        std::memcpy(target, &a, 16);
        std::memcpy(target + to_stride, &b, 16);
        std::memcpy(target + 2 * to_stride, &c, 16);
        std::memcpy(target + 3 * to_stride, &d, 16);
      }
    }
  }
#endif
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t first = row < whole_rows ? whole_columns : 0;
    for (std::int64_t column = first; column < columns; ++column) {
      to[column * to_stride + row] = from[row * from_stride + column];
    }
  }
}

// Some images, [batch][neurons], as a panel [neurons][lanes]; lanes without an image are 0.
template <typename T>
INLINE void fill(const T* images, std::int64_t neurons, std::int64_t batch, std::int64_t lanes,
                 T* panel) {
  if (batch < lanes) std::fill(panel, panel + neurons * lanes, T(0));
  transpose(images, neurons, batch, neurons, panel, lanes);
}

template <typename T, int kVectors>
INLINE void rows_of_block(Rows<T> rows, std::int64_t count, const T* from, T* to) {
  using V = typename Vector<T>::type;
  constexpr std::int64_t lanes = kVectors * kLanes<T>;
  for (std::int64_t row = 0; row < count; ++row) {
    V sums[kVectors];
    for (int k = 0; k < kVectors; ++k) sums[k] = V{};
    for (std::int32_t l = rows.starts[row]; l < rows.starts[row + 1]; ++l) {
      const V* other = reinterpret_cast<const V*>(from + rows.others[l] * lanes);
      T value = rows.values[l];
      for (int k = 0; k < kVectors; ++k) sums[k] += value * other[k];
    }
    V* out = reinterpret_cast<V*>(to + row * lanes);
    for (int k = 0; k < kVectors; ++k) out[k] = sums[k];
  }
}

// out[b, row] = sum over the row's links of value * in[b, other]
template <typename T, int kVectors>
INLINE void sum_rows(Rows<T> rows, std::int64_t ins, std::int64_t outs, std::int64_t batch,
                     const T* in, T* out) {
  constexpr std::int64_t lanes = kVectors * kLanes<T>;
  T* from = buffer<T>(kFirstPanel, ins * lanes);
  T* to = buffer<T>(kSecondPanel, outs * lanes);
  for (std::int64_t first = 0; first < batch; first += lanes) {
    std::int64_t some = std::min(lanes, batch - first);
    fill(in + first * ins, ins, some, lanes, from);
    rows_of_block<T, kVectors>(rows, outs, from, to);
    transpose(to, lanes, outs, some, out + first * outs, outs);
  }
}

template <typename T>
INLINE T total(typename Vector<T>::type vector) {
  T lanes[kLanes<T>];
  std::memcpy(lanes, &vector, kBytes);
  for (std::int64_t half = kLanes<T> / 2; half > 0; half /= 2) {
    for (std::int64_t k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  return lanes[0];
}

// out[l] = sum_b x[b, source] * y[b, target]
template <typename T, int kVectors>
INLINE void sum_batch(const std::int32_t* sources, const std::int32_t* targets, std::int64_t links,
                      std::int64_t inputs, std::int64_t outputs, std::int64_t batch, const T* x,
                      const T* y, T* out) {
  using V = typename Vector<T>::type;
  constexpr std::int64_t lanes = kVectors * kLanes<T>;
  T* from = buffer<T>(kFirstPanel, inputs * lanes);
  T* to = buffer<T>(kSecondPanel, outputs * lanes);
  std::fill(out, out + links, T(0));
  for (std::int64_t first = 0; first < batch; first += lanes) {
    std::int64_t some = std::min(lanes, batch - first);
    fill(x + first * inputs, inputs, some, lanes, from);
    fill(y + first * outputs, outputs, some, lanes, to);
    for (std::int64_t l = 0; l < links; ++l) {
      const V* one = reinterpret_cast<const V*>(from + sources[l] * lanes);
      const V* other = reinterpret_cast<const V*>(to + targets[l] * lanes);
      V sum = one[0] * other[0];
      for (int k = 1; k < kVectors; ++k) sum += one[k] * other[k];
      out[l] += total<T>(sum);
    }
  }
}

// As few lanes as hold the batch, at most eight vectors.
#define ROWS(T)                                                                              \
  CLONES void sum_rows_##T(Rows<T> rows, std::int64_t ins, std::int64_t outs,                \
                           std::int64_t batch, const T* in, T* out) {                        \
    if (batch <= kLanes<T>) return sum_rows<T, 1>(rows, ins, outs, batch, in, out);          \
    if (batch <= 2 * kLanes<T>) return sum_rows<T, 2>(rows, ins, outs, batch, in, out);      \
    sum_rows<T, 4>(rows, ins, outs, batch, in, out);                                         \
  }
#define BATCH(T)                                                                             \
  CLONES void sum_batch_##T(const std::int32_t* sources, const std::int32_t* targets,        \
                            std::int64_t links, std::int64_t ins, std::int64_t outs,         \
                            std::int64_t batch, const T* x, const T* y, T* out) {            \
    if (batch <= kLanes<T>)                                                                  \
      return sum_batch<T, 1>(sources, targets, links, ins, outs, batch, x, y, out);          \
    if (batch <= 4 * kLanes<T>)                                                              \
      return sum_batch<T, 4>(sources, targets, links, ins, outs, batch, x, y, out);          \
    sum_batch<T, 8>(sources, targets, links, ins, outs, batch, x, y, out);                   \
  }
ROWS(float)
ROWS(double)
BATCH(float)
BATCH(double)

void sum_rows(Rows<float> rows, std::int64_t ins, std::int64_t outs, std::int64_t batch,
              const float* in, float* out) {
  sum_rows_float(rows, ins, outs, batch, in, out);
}
void sum_rows(Rows<double> rows, std::int64_t ins, std::int64_t outs, std::int64_t batch,
              const double* in, double* out) {
  sum_rows_double(rows, ins, outs, batch, in, out);
}
void sum_batch(const std::int32_t* s, const std::int32_t* t, std::int64_t links, std::int64_t ins,
               std::int64_t outs, std::int64_t batch, const float* x, const float* y, float* out) {
  sum_batch_float(s, t, links, ins, outs, batch, x, y, out);
}
void sum_batch(const std::int32_t* s, const std::int32_t* t, std::int64_t links, std::int64_t ins,
               std::int64_t outs, std::int64_t batch, const double* x, const double* y,
               double* out) {
  sum_batch_double(s, t, links, ins, outs, batch, x, y, out);
}

// What is wrong with the links, or success. Indices may have been computed by anybody.
ffi::Error checked(const std::int32_t* sources, const std::int32_t* targets, std::int64_t links,
                   std::int64_t inputs, std::int64_t outputs) {
  if (links > std::numeric_limits<std::int32_t>::max()) {
    return ffi::Error::InvalidArgument("a layer has too many links for 32 bits");
  }
  for (std::int64_t l = 0; l < links; ++l) {
    if (sources[l] < 0 || sources[l] >= inputs || targets[l] < 0 || targets[l] >= outputs) {
      return ffi::Error::InvalidArgument(
          "link " + std::to_string(l) + " leads from input " + std::to_string(sources[l]) +
          " to output " + std::to_string(targets[l]) + ", but the layer has " +
          std::to_string(inputs) + " inputs and " + std::to_string(outputs) + " outputs");
    }
  }
  return ffi::Error::Success();
}

enum Operand { kWeights = 0, kInputs = 1, kOutputs = 2 };

template <typename T>
ffi::Error product(std::int32_t wanted, std::int64_t inputs, std::int64_t outputs,
                   std::int64_t batch, ffi::AnyBuffer first, ffi::AnyBuffer second,
                   const std::int32_t* sources, const std::int32_t* targets, std::int64_t links,
                   ffi::Result<ffi::AnyBuffer> result) {
  const T* one = reinterpret_cast<const T*>(first.untyped_data());
  const T* two = reinterpret_cast<const T*>(second.untyped_data());
  T* out = reinterpret_cast<T*>(result->untyped_data());
  if (wanted == kWeights) {
    sum_batch(sources, targets, links, inputs, outputs, batch, one, two, out);
  } else if (wanted == kInputs) {
    sum_rows(grouped(sources, targets, one, links, inputs), outputs, inputs, batch, two, out);
  } else {
    sum_rows(grouped(targets, sources, one, links, outputs), inputs, outputs, batch, two, out);
  }
  return ffi::Error::Success();
}

ffi::Error product_of(std::int32_t wanted, std::int64_t inputs, std::int64_t outputs,
                      ffi::AnyBuffer first, ffi::AnyBuffer second, ffi::Buffer<ffi::S32> sources,
                      ffi::Buffer<ffi::S32> targets, ffi::Result<ffi::AnyBuffer> result) {
  auto links = static_cast<std::int64_t>(sources.element_count());
  auto size = [&](std::int32_t operand, std::int64_t batch) {
    return operand == kWeights ? links : batch * (operand == kInputs ? inputs : outputs);
  };
  if (wanted < kWeights || wanted > kOutputs || inputs < 1 || outputs < 1) {
    return ffi::Error::InvalidArgument("no such product of a layer with links");
  }
  auto rows = wanted == kWeights ? first.dimensions() : second.dimensions();
  std::int64_t batch = rows.size() == 2 ? rows[0] : -1;
  auto type = first.element_type();
  if (static_cast<std::int64_t>(targets.element_count()) != links || batch < 0 ||
      static_cast<std::int64_t>(first.element_count()) != size(wanted == 0 ? 1 : 0, batch) ||
      static_cast<std::int64_t>(second.element_count()) != size(wanted == 2 ? 1 : 2, batch) ||
      static_cast<std::int64_t>(result->element_count()) != size(wanted, batch) ||
      second.element_type() != type || result->element_type() != type) {
    return ffi::Error::InvalidArgument("the arrays do not belong to one layer with links");
  }
  if (auto error = checked(sources.typed_data(), targets.typed_data(), links, inputs, outputs);
      error.failure()) {
    return error;
  }
  try {
    if (type == ffi::F32) {
      return product<float>(wanted, inputs, outputs, batch, first, second, sources.typed_data(),
                            targets.typed_data(), links, result);
    }
    if (type == ffi::F64) {
      return product<double>(wanted, inputs, outputs, batch, first, second, sources.typed_data(),
                             targets.typed_data(), links, result);
    }
  } catch (const std::bad_alloc&) {
    return ffi::Error::Internal("no memory is left for a layer with links");
  }
  return ffi::Error::InvalidArgument("a layer with links computes in float32 or float64");
}

// ------------------------------------------------------------------------------------------------
// Scores of all pairs (u, v) by the paths u - z1 - z2 - v; see native.l3_scores.

struct Adjacency {
  std::vector<std::int32_t> starts, others;

  Adjacency(const std::int32_t* ends, const std::int32_t* far_ends, std::int64_t links,
            std::int64_t nodes)
      : starts(nodes + 1), others(links) {
    for (std::int64_t l = 0; l < links; ++l) ++starts[ends[l] + 1];
    for (std::int64_t n = 0; n < nodes; ++n) starts[n + 1] += starts[n];
    std::vector<std::int32_t> next(starts.begin(), starts.end() - 1);
    for (std::int64_t l = 0; l < links; ++l) others[next[ends[l]]++] = far_ends[l];
  }

  std::int32_t degree(std::int64_t node) const { return starts[node + 1] - starts[node]; }
};

// The factor of a node of `degree` that shares `common` neighbours with a path's end.
double factor(std::int32_t rule, double degree, double common) {
  double elsewhere = std::max(degree - common, 1.0);  // less than 1 for links only: never used
  switch (rule) {
    case 0: return 1.0;
    case 1: return 1.0 / std::sqrt(degree);
    case 2: return std::sqrt(common / degree);
    case 3: return std::sqrt((1.0 + common) / elsewhere);
    default: return 1.0 / std::sqrt(elsewhere);
  }
}

// The nodes on one side of the layer that share a neighbour with one of them, and how many.
class Sharing {
 public:
  Sharing(const Adjacency& near, const Adjacency& far, std::int64_t nodes)
      : near_(near), far_(far), common(nodes) {}

  void count(std::int64_t node) {
    for (std::int32_t other : shared) common[other] = 0;
    shared.clear();
    for (std::int32_t i = near_.starts[node]; i < near_.starts[node + 1]; ++i) {
      std::int32_t middle = near_.others[i];
      for (std::int32_t j = far_.starts[middle]; j < far_.starts[middle + 1]; ++j) {
        std::int32_t other = far_.others[j];
        if (other != node && common[other]++ == 0) shared.push_back(other);
      }
    }
  }

 private:
  const Adjacency& near_;
  const Adjacency& far_;

 public:
  std::vector<std::int32_t> common;
  std::vector<std::int32_t> shared;
};

// row[v] += weight * sum over the paths through z1, for all v that share a neighbour with z1.
CLONES void add_shared(const std::int32_t* shared, const double* factors, std::int64_t count,
                       double* __restrict reached, double* __restrict row) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::int32_t v = shared[i];
    row[v] += factors[i] * reached[v];
    reached[v] = 0;
  }
}

template <typename T>
void score(std::int32_t rule, const Adjacency& of_inputs, const Adjacency& of_outputs,
           std::int64_t inputs, std::int64_t outputs, T* scores) {
  // P[z1, v] for the outputs v that share an input with z1, row by row
  std::vector<std::int64_t> starts(outputs + 1);
  std::vector<std::int32_t> shared;
  std::vector<double> factors;
  Sharing outs(of_outputs, of_inputs, outputs);
  for (std::int64_t z1 = 0; z1 < outputs; ++z1) {
    outs.count(z1);
    std::sort(outs.shared.begin(), outs.shared.end());
    for (std::int32_t v : outs.shared) {
      shared.push_back(v);
      factors.push_back(factor(rule, of_outputs.degree(z1), outs.common[v]));
    }
    starts[z1 + 1] = static_cast<std::int64_t>(shared.size());
  }
  Sharing ins(of_inputs, of_outputs, inputs);
  std::vector<double> q(inputs), reached(outputs), row(outputs);
  for (std::int64_t u = 0; u < inputs; ++u) {
    ins.count(u);
    for (std::int32_t z2 : ins.shared) {
      q[z2] = factor(rule, of_inputs.degree(z2), ins.common[z2]);
    }
    q[u] = 0;  // z2 is never u
    std::fill(row.begin(), row.end(), 0.0);
    for (std::int32_t i = of_inputs.starts[u]; i < of_inputs.starts[u + 1]; ++i) {
      std::int32_t z1 = of_inputs.others[i];
      for (std::int32_t j = of_outputs.starts[z1]; j < of_outputs.starts[z1 + 1]; ++j) {
        std::int32_t z2 = of_outputs.others[j];
        for (std::int32_t k = of_inputs.starts[z2]; k < of_inputs.starts[z2 + 1]; ++k) {
          reached[of_inputs.others[k]] += q[z2];
        }
      }
      reached[z1] = 0;  // v is never z1
      add_shared(shared.data() + starts[z1], factors.data() + starts[z1],
                 starts[z1 + 1] - starts[z1], reached.data(), row.data());
    }
    for (std::int64_t v = 0; v < outputs; ++v) scores[u * outputs + v] = static_cast<T>(row[v]);
  }
}

constexpr std::int32_t kGone = std::numeric_limits<std::int32_t>::min();

ffi::Error l3_scores_of(std::int32_t rule, ffi::Buffer<ffi::S32> sources,
                        ffi::Buffer<ffi::S32> targets, ffi::Result<ffi::AnyBuffer> result) {
  auto shape = result->dimensions();
  if (rule < 0 || rule > 4 || shape.size() != 2 ||
      targets.element_count() != sources.element_count()) {
    return ffi::Error::InvalidArgument("no such scores of a layer with links");
  }
  std::int64_t inputs = shape[0], outputs = shape[1];
  try {
    std::vector<std::int32_t> s, t;  // without the links whose source is marked as gone
    for (std::size_t l = 0; l < sources.element_count(); ++l) {
      if (sources.typed_data()[l] == kGone) continue;
      s.push_back(sources.typed_data()[l]);
      t.push_back(targets.typed_data()[l]);
    }
    auto links = static_cast<std::int64_t>(s.size());
    if (auto error = checked(s.data(), t.data(), links, inputs, outputs); error.failure()) {
      return error;
    }
    Adjacency of_inputs(s.data(), t.data(), links, inputs);
    Adjacency of_outputs(t.data(), s.data(), links, outputs);
    if (result->element_type() == ffi::F32) {
      score(rule, of_inputs, of_outputs, inputs, outputs,
            reinterpret_cast<float*>(result->untyped_data()));
    } else if (result->element_type() == ffi::F64) {
      score(rule, of_inputs, of_outputs, inputs, outputs,
            reinterpret_cast<double*>(result->untyped_data()));
    } else {
      return ffi::Error::InvalidArgument("scores are float32 or float64");
    }
  } catch (const std::bad_alloc&) {
    return ffi::Error::Internal("no memory is left for the scores of a layer");
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(prunejax_product, product_of,
                              ffi::Ffi::Bind()
                                  .Attr<std::int32_t>("wanted")
                                  .Attr<std::int64_t>("inputs")
                                  .Attr<std::int64_t>("outputs")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(prunejax_l3_scores, l3_scores_of,
                              ffi::Ffi::Bind()
                                  .Attr<std::int32_t>("rule")
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::AnyBuffer>());
