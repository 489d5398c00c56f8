// RUN: rondo-opt %s -verify-roundtrip | FileCheck %s
// RUN: rondo-opt %s -mlir-print-op-generic | rondo-opt | FileCheck %s

// Tests that every operation prints as it is written.

// CHECK: rondo.param @table : tensor<100x64xf32> from ["embed"]
rondo.param @table : tensor<100x64xf32> from ["embed"]
// CHECK: rondo.param @w layers(2) : tensor<64x64xbf16> from ["0.w", "1.w"]
rondo.param @w layers(2) : tensor<64x64xbf16> from ["0.w", "1.w"]
rondo.param @v layers(2) : tensor<128x64xbf16> from ["0.v", "1.v"]
rondo.param @b layers(2) : tensor<64xf32> from ["0.b", "1.b"]
rondo.param @norm : tensor<64xf32> from ["norm"]
rondo.param @head_norm : tensor<32xf32> from ["head_norm"]

// CHECK-LABEL: rondo.block @layers
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>) -> tensor<?x64xf32> caches(2) attributes {note = "kept"} {
rondo.block @layers(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(2) attributes {note = "kept"} {
  // CHECK-NEXT: rondo.norm rms %[[X]], @norm eps 9.99999974E-6 : tensor<?x64xf32>
  %n = rondo.norm rms %x, @norm eps 1.0e-5 : tensor<?x64xf32>
  // CHECK-NEXT: %[[Q:.*]]:2 = rondo.linear %{{.*}}, [@w, @v] bias [@b, unit] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x128xf32>
  %q, %v = rondo.linear %n, [@w, @v] bias [@b, unit] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x128xf32>
  // CHECK-NEXT: rondo.norm rms %{{.*}}, @head_norm eps 9.99999974E-6 heads(2)
  %h = rondo.norm rms %q, @head_norm eps 1.0e-5 heads(2) : tensor<?x64xf32>
  // CHECK-NEXT: rondo.rope interleaved %{{.*}} heads(2) frequencies [1.000000e+00, 5.000000e-01] : tensor<?x64xf32>
  %r = rondo.rope interleaved %h heads(2) frequencies [1.0, 0.5] : tensor<?x64xf32>
  // Every bit of a frequency is in the text.
  // CHECK-NEXT: rondo.rope half %{{.*}} heads(2) frequencies [0.749894201, 0.0421696492] : tensor<?x64xf32>
  %p = rondo.rope half %r heads(2) frequencies [0.749894201, 0.0421696492] : tensor<?x64xf32>
  // CHECK-NEXT: rondo.append %[[R:.*]], %[[R]] cache(1) heads(2) : tensor<?x64xf32>
  rondo.append %r, %r cache(1) heads(2) : tensor<?x64xf32>
  // CHECK-NEXT: rondo.attend %{{.*}} cache(1) heads(4) kv_heads(2) scale 2.500000e-01 causal window(16) : tensor<?x64xf32>
  %a = rondo.attend %r cache(1) heads(4) kv_heads(2) scale 0.25 causal window(16) : tensor<?x64xf32>
  // CHECK-NEXT: rondo.norm layer %{{.*}}, @norm bias @norm eps 9.99999974E-6 : tensor<?x64xf32>
  %l = rondo.norm layer %a, @norm bias @norm eps 1.0e-5 : tensor<?x64xf32>
  // CHECK-NEXT: rondo.norm rms %{{.*}}, @norm plus 1.000000e+00 eps 9.99999974E-6 : tensor<?x64xf32>
  %o = rondo.norm rms %l, @norm plus 1.0 eps 1.0e-5 : tensor<?x64xf32>
  // CHECK-NEXT: rondo.activation gelu_tanh %{{.*}} : tensor<?x64xf32>
  %g = rondo.activation gelu_tanh %l : tensor<?x64xf32>
  rondo.trace "hidden" %g : tensor<?x64xf32>
  // CHECK: rondo.trace "hidden" %[[G:.*]] : tensor<?x64xf32>
  // CHECK-NEXT: rondo.yield %[[G]] : tensor<?x64xf32>
  rondo.yield %g : tensor<?x64xf32>
}

// CHECK-LABEL: rondo.block @nothing()
// CHECK-NEXT: }
rondo.block @nothing() {
}

// CHECK-LABEL: rondo.block @pair
// CHECK-SAME: (%{{.*}}: tensor<?x64xf32>, %{{.*}}: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x64xf32>) {
rondo.block @pair(%x: tensor<?x64xf32>, %y: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x64xf32>) {
  rondo.yield %y, %x : tensor<?x8xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: func.func @model
func.func @model(%t: tensor<?xi32>) -> tensor<?x64xf32> {
  // CHECK: %[[E:.*]] = rondo.embed %{{.*}}, @table scale 8.000000e+00 : tensor<?xi32> -> tensor<?x64xf32>
  %x = rondo.embed %t, @table scale 8.0 : tensor<?xi32> -> tensor<?x64xf32>
  // CHECK: rondo.embed %{{.*}}, @table : tensor<?xi32> -> tensor<?x64xf32>
  %e = rondo.embed %t, @table : tensor<?xi32> -> tensor<?x64xf32>
  // CHECK: %[[Y:.*]]:2 = rondo.loop %[[D:.*]] to 3 carries(%[[A:.*]] = %[[E]], %[[B:.*]] = %{{.*}}) : tensor<?x64xf32>, tensor<?x64xf32> attributes {note = "kept"} {
  %y:2 = rondo.loop %d to 3 carries(%a = %x, %b = %e) : tensor<?x64xf32>, tensor<?x64xf32> attributes {note = "kept"} {
    // CHECK-NEXT: %[[Z:.*]] = rondo.loop %[[L:.*]] to 2 carries(%[[C:.*]] = %[[A]]) : tensor<?x64xf32> {
    %z = rondo.loop %l to 2 carries(%c = %a) : tensor<?x64xf32> {
      // CHECK-NEXT: rondo.apply @layers(%[[C]]) at(%[[D]], %[[L]]) layer(d1) side(d0) slot(d0 * 4 + d1 * 2) {note = "kept"} : (tensor<?x64xf32>) -> tensor<?x64xf32>
      %f = rondo.apply @layers(%c) at(%d, %l) layer(d1) side(d0) slot(d0 * 4 + d1 * 2) {note = "kept"} : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %f : tensor<?x64xf32>
    }
    // CHECK: rondo.yield %[[B]], %[[Z]] : tensor<?x64xf32>, tensor<?x64xf32>
    rondo.yield %b, %z : tensor<?x64xf32>, tensor<?x64xf32>
  }
  // CHECK: rondo.loop %{{.*}} to 1 {
  // CHECK-NEXT: rondo.apply @nothing() layer(0) side(0) slot(0) : () -> ()
  // CHECK-NEXT: }
  rondo.loop %i to 1 {
    rondo.apply @nothing() layer(0) side(0) slot(0) : () -> ()
  }
  return %y#0 : tensor<?x64xf32>
}

// CHECK-LABEL: rondo.param @side.a layers(2) depths(2) : tensor<8x64xf32> from [unit, "a.0.1", unit, "a.1.1"]
rondo.param @side.a layers(2) depths(2) : tensor<8x64xf32> from [unit, "a.0.1", unit, "a.1.1"]
// CHECK: rondo.param @side.b depths(2) : tensor<64x8xf32> stored as bf16 from ["b.0", "b.1"]
rondo.param @side.b depths(2) : tensor<64x8xf32> stored as bf16 from ["b.0", "b.1"]
rondo.param @side.w : tensor<64x64xf32> from ["w"]
// CHECK: rondo.param @part.matrix : tensor<32x64xbf16> from ["w"] part <of = [96, 128], first = 16, run = 16, step = 48, column = 64>
rondo.param @part.matrix : tensor<32x64xbf16> from ["w"] part <of = [96, 128], first = 16, run = 16, step = 48, column = 64>
// CHECK: rondo.param @part.vector : tensor<40xf32> from ["b"] part <of = [2, 1, 4, 10], first = 40, run = 40, step = 40>
rondo.param @part.vector : tensor<40xf32> from ["b"] part #rondo.part<of = [2, 1, 4, 10], first = 40, run = 40, step = 40>
// CHECK: rondo.param @side.sum depths(2) : tensor<64x64xf32> from ["w", "w"] plus <@side.c, @side.b, scale = 5.000000e-01 : f32>
rondo.param @side.sum depths(2) : tensor<64x64xf32> from ["w", "w"] plus <@side.c, @side.b, scale = 0.5 : f32>
rondo.param @side.c : tensor<8x64xf32> from ["c"]
rondo.param @side.scale depths(2) : tensor<64xf32> from ["s.0", "s.1"]

// CHECK-LABEL: rondo.block @side
rondo.block @side(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: rondo.linear %{{.*}}, [@side.w, @side.w] lora [#rondo.lora<@side.a, @side.b, scale = 5.000000e-01 : f32>, unit] : tensor<?x64xf32>
  %y, %z = rondo.linear %x, [@side.w, @side.w] lora [#rondo.lora<@side.a, @side.b, scale = 0.5 : f32>, unit]
    : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  // CHECK: rondo.scale %{{.*}}, @side.scale by 2.000000e+00 : tensor<?x64xf32>
  %s = rondo.scale %y, @side.scale by 2.0 : tensor<?x64xf32>
  // CHECK: rondo.scale %{{.*}}, @side.scale : tensor<?x64xf32>
  %t = rondo.scale %z, @side.scale : tensor<?x64xf32>
  // CHECK: rondo.scale %{{.*}} by 3.000000e+00 : tensor<?x64xf32>
  %u = rondo.scale %t by 3.0 : tensor<?x64xf32>
  %v = arith.addf %s, %u : tensor<?x64xf32>
  rondo.yield %v : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @inputs
// CHECK-SAME: %{{.*}}: tensor<?x64xf32> {rondo.input = #rondo.input<"given_state", init = given>}
// CHECK-SAME: %{{.*}}: tensor<?x64xf32> {rondo.input = #rondo.input<"zero_state", init = zeros>}
// CHECK-SAME: %{{.*}}: tensor<?x64xf32> {rondo.input = #rondo.input<"drawn_state", init = normal, deviation = 2.500000e-01 : f64>}
func.func @inputs(%a: tensor<?x64xf32> {rondo.input = #rondo.input<"given_state", init = given>},
                  %b: tensor<?x64xf32> {rondo.input = #rondo.input<"zero_state", init = zeros>},
                  %c: tensor<?x64xf32> {rondo.input = #rondo.input<"drawn_state", init = normal, deviation = 0.25>}) {
  return
}

// Early exits, and forms of trace points.
// CHECK-LABEL: func.func @exits
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[G:.*]]: tensor<?x1xf32>)
func.func @exits(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>) -> tensor<?x64xf32> {
  // CHECK-NEXT: %[[R:.*]] = rondo.fill [-1.000000e+00, 0.000000e+00, 0.749894201] like %[[X]] : tensor<?x64xf32> -> tensor<?x3xf32>
  %r = rondo.fill [-1.0, 0.0, 0.749894201] like %x : tensor<?x64xf32> -> tensor<?x3xf32>
  // CHECK-NEXT: %[[Y:.*]], %[[N:.*]] = rondo.exit cumulative %[[X]], %[[G]], %[[X]], %[[R]] threshold 5.000000e-01 scope(row) after(ghost) : tensor<?x64xf32>, tensor<?x1xf32>, tensor<?x3xf32>
  %y, %n = rondo.exit cumulative %x, %g, %x, %r threshold 0.5 scope(row) after(ghost) : tensor<?x64xf32>, tensor<?x1xf32>, tensor<?x3xf32>
  // CHECK-NEXT: rondo.trace "exit" %[[G]] as numbers : tensor<?x1xf32>
  rondo.trace "exit" %g as numbers : tensor<?x1xf32>
  // CHECK-NEXT: rondo.trace single "depth" %[[N]] as integers : tensor<?x3xf32>
  rondo.trace single "depth" %n as integers : tensor<?x3xf32>
  // CHECK-NEXT: return %[[Y]]
  return %y : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @encode
// CHECK-SAME: -> (tensor<?x64xf32> {rondo.output = #rondo.output<"states">}, tensor<?x64xf32> {rondo.output = #rondo.output<"pooled", first = true>})
func.func @encode(%t: tensor<?xi32>)
    -> (tensor<?x64xf32> {rondo.output = #rondo.output<"states">},
        tensor<?x64xf32> {rondo.output = #rondo.output<"pooled", first = true>}) {
  // CHECK: %[[P:.*]] = rondo.row_ids position : tensor<?xi32>
  %p = rondo.row_ids position : tensor<?xi32>
  // CHECK-NEXT: rondo.row_ids token_type : tensor<?xi32>
  %u = rondo.row_ids token_type : tensor<?xi32>
  // CHECK-NEXT: rondo.embed %[[P]], @table
  %x = rondo.embed %p, @table : tensor<?xi32> -> tensor<?x64xf32>
  %y = rondo.embed %u, @table : tensor<?xi32> -> tensor<?x64xf32>
  return %x, %y : tensor<?x64xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: rondo.block @full
rondo.block @full(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
  // CHECK: rondo.attend %{{.*}} cache(0) heads(2) kv_heads(2) scale 1.000000e+00 full : tensor<?x64xf32>
  %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 full : tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}

// Routing, and one column of a record in a trace.
// CHECK: rondo.param @router.bias : tensor<3xf32>
rondo.param @router.bias : tensor<3xf32> from ["bias"]
// CHECK-LABEL: rondo.block @route
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[S:.*]]: tensor<?x1xf32>, %[[C:.*]]: tensor<?x3xf32>, %[[R:.*]]: tensor<?x4xf32>)
rondo.block @route(%x: tensor<?x64xf32>, %s: tensor<?x1xf32>, %c: tensor<?x3xf32>, %r: tensor<?x4xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK-NEXT: %[[K:.*]] = rondo.route top_k %[[S]], %[[R]] sigmoid alpha 1.000000e-01 capacities [1.000000e+00, 0.66666666666666663] : tensor<?x1xf32>, tensor<?x4xf32>
  %k = rondo.route top_k %s, %r sigmoid alpha 0.1 capacities [1.0, 0.66666666666666663] : tensor<?x1xf32>, tensor<?x4xf32>
  // CHECK-NEXT: %[[T:.*]] = rondo.route threshold %[[S]], %[[K]] tanh alpha 1.000000e-01 additive threshold 0.000000e+00 {note = "kept"} : tensor<?x1xf32>, tensor<?x4xf32>
  %t = rondo.route threshold %s, %k tanh alpha 0.1 additive threshold 0.0 {note = "kept"} : tensor<?x1xf32>, tensor<?x4xf32>
  // CHECK-NEXT: %[[B:.*]] = rondo.route choice %[[C]], %[[T]] softmax alpha 1.000000e+00 biases @router.bias : tensor<?x3xf32>, tensor<?x4xf32>
  %b = rondo.route choice %c, %t softmax alpha 1.0 biases @router.bias : tensor<?x3xf32>, tensor<?x4xf32>
  // CHECK-NEXT: %[[I:.*]] = rondo.route choice %[[C]], %[[B]] identity alpha 1.000000e+00 : tensor<?x3xf32>, tensor<?x4xf32>
  %i = rondo.route choice %c, %b identity alpha 1.0 : tensor<?x3xf32>, tensor<?x4xf32>
  // CHECK-NEXT: rondo.trace "router" %[[I]] as present column(2) : tensor<?x4xf32>
  rondo.trace "router" %i as present column(2) : tensor<?x4xf32>
  // CHECK-NEXT: rondo.trace "selected" %[[I]] as positions column(3) : tensor<?x4xf32>
  rondo.trace "selected" %i as positions column(3) : tensor<?x4xf32>
  // CHECK-NEXT: %[[D:.*]] = rondo.select_rows %[[X]] by %[[I]] places dense : tensor<?x64xf32>, tensor<?x4xf32>
  %d = rondo.select_rows %x by %i places dense : tensor<?x64xf32>, tensor<?x4xf32>
  // CHECK-NEXT: %[[P:.*]] = rondo.select_rows %[[X]] by %[[I]] places kept : tensor<?x64xf32>, tensor<?x4xf32>
  %p = rondo.select_rows %x by %i places kept : tensor<?x64xf32>, tensor<?x4xf32>
  // CHECK-NEXT: rondo.merge_rows add selected %[[D]] into %[[X]] by %[[I]] : tensor<?x64xf32>, tensor<?x4xf32>
  %m = rondo.merge_rows add selected %d into %x by %i : tensor<?x64xf32>, tensor<?x4xf32>
  // CHECK-NEXT: rondo.merge_rows replace %[[P]] into %[[X]] by %[[I]] : tensor<?x64xf32>, tensor<?x4xf32>
  %n = rondo.merge_rows replace %p into %x by %i : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %m, %n : tensor<?x64xf32>, tensor<?x64xf32>
}
