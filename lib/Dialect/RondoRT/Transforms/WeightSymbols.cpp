//===- WeightSymbols.cpp - packed weights of a module ------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "WeightSymbols.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::rt;

PanelFormat rondo::rt::getPanelFormat(Type type) {
  return TypeSwitch<Type, PanelFormat>(type)
      .Case<Float32Type>([](auto) { return PanelFormat::F32; })
      .Case<Float16Type>([](auto) { return PanelFormat::F16; })
      .Case<BFloat16Type>([](auto) { return PanelFormat::BF16Pair; })
      .Case<Q8_0Type>([](auto) { return PanelFormat::Q8_0; })
      .Case<Q4_0Type>([](auto) { return PanelFormat::Q4_0; })
      .Case<Q4_1Type>([](auto) { return PanelFormat::Q4_1; });
}

template <typename OpT, typename Make>
OpT WeightSymbols::getOrCreate(Attribute key, Make make) {
  Operation *&op = made[key];
  if (!op) {
    op = make();
    symbols.insert(op); // renames if the name is taken
  }
  return cast<OpT>(op);
}

PackedOp WeightSymbols::getPacked(ArrayRef<FlatSymbolRefAttr> params,
                                  ArrayRef<LayoutAttr> rows,
                                  int64_t unitPanels) {
  SmallVector<Attribute> names(params.begin(), params.end());
  SmallVector<Attribute> layouts(rows.begin(), rows.end());
  ArrayAttr key = builder.getArrayAttr({builder.getArrayAttr(names),
                                        builder.getArrayAttr(layouts),
                                        builder.getI64IntegerAttr(unitPanels)});
  return getOrCreate<PackedOp>(key, [&]() -> Operation * {
    ParamOp first = getParam(params.front());
    std::string name = "packed";
    for (FlatSymbolRefAttr param : params)
      name += "." + param.getValue().str();
    return PackedOp::create(
        builder, first.getLoc(), name, builder.getArrayAttr(names),
        builder.getArrayAttr(layouts), getPanelFormat(first.getStoredType()),
        llvm::alignTo(first.getTensorType().getDimSize(1),
                      getLineInputs(getPanelFormat(first.getStoredType()))),
        first.getLayerCount(), first.getDepthCount(), unitPanels,
        /*offset=*/IntegerAttr(), /*stride=*/IntegerAttr());
  });
}

VectorOp WeightSymbols::getVector(FlatSymbolRefAttr param, LayoutAttr layout,
                                  int64_t repeat) {
  ArrayAttr key =
      builder.getArrayAttr({param, layout, builder.getI64IntegerAttr(repeat)});
  return getOrCreate<VectorOp>(key, [&]() -> Operation * {
    ParamOp op = getParam(param);
    return VectorOp::create(builder, op.getLoc(),
                            "vector." + param.getValue().str(),
                            param.getValue(), layout, op.getLayerCount(),
                            op.getDepthCount(), repeat,
                            /*offset=*/IntegerAttr(), /*stride=*/IntegerAttr());
  });
}

RopeTableOp WeightSymbols::getRopeTable(DenseElementsAttr frequencies,
                                        int64_t positions, int64_t chunks) {
  ArrayAttr key =
      builder.getArrayAttr({frequencies, builder.getI64IntegerAttr(positions),
                            builder.getI64IntegerAttr(chunks)});
  return getOrCreate<RopeTableOp>(key, [&]() -> Operation * {
    return RopeTableOp::create(builder, builder.getUnknownLoc(), "rope",
                               frequencies, positions, chunks,
                               /*offset=*/IntegerAttr());
  });
}
