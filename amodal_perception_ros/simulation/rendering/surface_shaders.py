"""GLSL of each material kind: how albedo, roughness, gloss and emission vary over a surface.

A snippet may change `albedo`, `rough`, `spec` (reflectance straight on), `occlusion`, `emission` and the normal `n`;
it reads P (odom), L (model), U (texture coordinates), S (slot), C (colour), `look` (0..1, one number per thing or
tile) and `wear` (0..1). `vn` is smooth noise, `cell` white noise per whole number, `hash3` a number of a colour.
"""

from __future__ import annotations

from amodal_perception_ros.simulation.assets.meshes import Kind

SURFACE: dict[Kind, str] = {
    Kind.PLAIN: """
  albedo *= 0.82 + 0.2 * vn(P.xy * 0.9 + P.z) + 0.16 * vn(L.xz * 7.0 + L.y * 3.0);
  rough = clamp(rough + 0.25 * vn(L.xz * 2.0) - 0.1, 0.05, 1.0);
""",
    Kind.CLOTH: "albedo *= 0.8 + 0.4 * vn(L.xz * 22.0 + look * 17.0) * (0.6 + 0.8 * vn(L.yz * 60.0));",
    Kind.ASPHALT: """
  float big = vn(P.xy * 0.13 + look), mid = vn(P.xy * 1.1 + 5.0), fine = vn(P.xy * 37.0);
  float pale = 0.7 + 1.1 * wear;
  albedo = mix(albedo, albedo * vec3(1.06, 1.0, 0.92), wear) * pale * (0.5 + 0.5 * big + 0.2 * mid + 0.34 * fine);
  vec2 block = floor(P.xy / vec2(9.0, 4.3)), in_block = fract(P.xy / vec2(9.0, 4.3));
  float chosen = cell(block + 40.0);
  vec2 extent = vec2(0.25 + 0.7 * cell(block + 7.0), 0.2 + 0.7 * cell(block + 19.0));
  vec2 border = min(in_block, extent - in_block) * vec2(9.0, 4.3) + 0.05 * (mid - 0.5);
  float inside = min(border.x, border.y);
  if (chosen < 0.05 + 0.22 * wear && inside > 0.0)
    albedo *= inside < 0.04 ? 0.45 : (chosen < 0.1 ? 0.62 : 0.82 + 2.0 * (chosen - 0.1));
  vec2 bent = P.xy + 0.5 * vec2(mid, vn(P.xy * 1.1 + 31.0)) + 0.12 * vn(P.xy * 9.0);
  float line = abs(vn(bent * 0.23 + 13.0) - 0.5), where = vn(P.xy * 0.17 + 3.0);
  float seal = smoothstep(0.007, 0.004, line) * smoothstep(0.66 - 0.2 * wear, 0.72 - 0.2 * wear, where);
  albedo *= 1.0 - 0.4 * seal * smoothstep(0.3, 0.5, mid);
  albedo *= 1.0 - 0.3 * wear * smoothstep(0.02, 0.0, abs(vn(bent * 1.3) - 0.5)) * smoothstep(0.5, 0.65, 1.0 - where);
  albedo *= 1.0 - 0.35 * smoothstep(0.66, 0.9, vn(P.xy * 0.8 + 21.0)) * smoothstep(0.4, 0.75, vn(P.xy * 4.0));
  vec2 lid = floor(P.xy / 13.0), to_lid = P.xy - 13.0 * (lid + 0.15 + 0.7 * vec2(cell(lid), cell(lid + 31.0)));
  float r = length(to_lid);
  if (r < 0.42 && cell(lid + 57.0) < 0.45) {
    vec2 grid = abs(fract(to_lid * 9.0) - 0.5);
    albedo = r > 0.34 ? albedo * 0.6 : vec3(0.075, 0.07, 0.065) * (grid.x > 0.36 || grid.y > 0.36 ? 0.5 : 1.3);
  }
""",
    Kind.MARKING: """
  float worn = smoothstep(0.25 + 0.22 * wear, 0.55 + 0.22 * wear, 0.55 * vn(P.xy * 3.0) + 0.45 * vn(P.xy * 21.0) + 0.1);
  albedo = mix(vec3(0.07 + 0.08 * wear), albedo * (0.75 + 0.3 * vn(P.xy * 0.7)), 0.2 + 0.8 * worn);
""",
    Kind.PAVING: """
  float w = 0.3 + 0.35 * floor(look * 3.0);
  vec2 q = P.xy / w; q.x += 0.5 * mod(floor(q.y), 2.0); vec2 g = fract(q);
  albedo *= ((g.x < 0.03 || g.y < 0.03) ? 0.62 : 1.0) * (0.78 + 0.26 * cell(floor(q))) * (0.6 + 0.6 * vn(P.xy * 0.9));
  albedo *= 1.0 - (0.2 + 0.5 * wear) * smoothstep(0.6, 0.75, vn(P.xy * 0.35 + 11.0)) * vn(P.xy * 5.0);
  albedo *= cell(floor(P.xy * 14.0)) < 0.012 * wear ? 0.45 : 1.0;
""",
    Kind.GRASS: """
  float dry = smoothstep(0.42, 0.75, 0.6 * vn(P.xy * 0.25 + 9.0) + 0.4 * vn(P.xy * 1.3)) * (0.25 + 0.75 * wear);
  albedo = mix(albedo, vec3(0.17, 0.145, 0.085), dry);
  albedo *= 0.3 + vn(P.xy * 6.0) * 0.55 + 0.45 * vn(P.xy * 0.7) + 0.5 * vn(P.xy * 37.0);
""",
    Kind.BRICK: """
  float row = floor(U.y / 0.08), bx = U.x + 0.12 * mod(row, 2.0);
  bool joint = mod(bx, 0.24) < 0.012 || mod(U.y, 0.08) < 0.012;
  albedo = joint ? mix(albedo, vec3(0.36), 0.7) : albedo * (0.6 + 0.7 * cell(vec2(floor(bx / 0.24), row)));
  albedo *= 0.6 + 0.7 * vn(U * 0.9 + 3.0);
""",
    Kind.ROOF: """
  float tile = fract(U.y / 0.3);
  albedo *= (0.65 + 0.4 * tile) * (0.75 + 0.5 * cell(floor(U / vec2(0.25, 0.3))));
""",
    Kind.LEAF: """
  float grey = dot(albedo, vec3(0.3, 0.6, 0.1)), place = vn(P.xy * 0.21 + 17.0);
  albedo = mix(vec3(grey), albedo, 0.45 + 0.5 * place) * (0.4 + 0.75 * U.x) * (0.5 + 0.6 * U.y) * (0.65 + 0.5 * place);
""",
    Kind.PAINT: """
  spec = 0.06;
  float dirt = wear * (1.0 - smoothstep(0.1, 0.35 + 0.5 * look, L.z)) * (0.5 + 0.8 * vn(L.xz * 5.0 + look * 9.0));
  albedo = mix(albedo * (0.93 + 0.1 * vn(L.xz * 3.0 + look * 31.0)) * mix(0.72, 1.0, smoothstep(0.15, 0.6, L.z)),
               vec3(0.12, 0.105, 0.085), 0.75 * clamp(dirt, 0.0, 1.0));
  rough = clamp(rough + 0.5 * dirt, 0.0, 1.0);
""",
    Kind.GLASS: """
  spec = 0.07 + 0.07 * fract(look * 7.3);
  vec3 tint = 0.4 + fract(look * vec3(3.7, 5.1, 8.9)) * 0.8;
  albedo *= tint * (0.4 + 1.1 * fract(look * 11.7)) * (0.5 + 0.9 * vn(L.xz * 1.5 + look * 13.0));
  albedo += 0.03 * smoothstep(0.55, 0.7, vn(L.xy * 2.2 + look * 23.0)) * step(0.4, fract(look * 17.3));
""",
    Kind.LAMP: """
  float facing = dot(n, V); float on = S < 0.5 ? 1.6 : (S > 2.5 ? street_lights : (0.3 + 0.7 * facing * facing)
    * lights * vehicle_lights * (S < 1.5 ? 1.0 : 0.35));
  emission = (S > 2.5 ? lamp_color : albedo) * on;
""",
    Kind.FACADE: """
  vec2 c = floor(U), f = U - c; float house = hash3(C.rgb);
  bool upright = abs(n.z) < 0.5; bool ground = c.y < 0.5;
  vec4 w = S < 0.5 ? vec4(0.26, 0.74, 0.3, 0.82) : (S < 1.5 ? vec4(0.14, 0.86, 0.28, 0.86)
         : (S < 2.5 ? vec4(0.33, 0.67, 0.22, 0.84) : vec4(0.04, 0.96, 0.34, 0.8)));
  bool shop = ground && S > 0.5 && S < 2.5;
  if (shop) w = vec4(0.05, 0.95, 0.12, 0.84);
  bool inside = upright && f.x > w.x && f.x < w.y && f.y > w.z && f.y < w.w;
  vec2 edge = min(f - w.xz, w.yw - f);
  bool frame = inside && (edge.x < 0.028 || edge.y < 0.024 || abs(f.x - 0.5) < 0.012);
  albedo *= 0.68 + 0.3 * vn(P.xy * 0.8 + P.z) + 0.15 * vn(U * 25.0) + 0.24 * vn(vec2(U.x * 5.0, U.y * 0.4));
  if (S > 1.5 && S < 2.5) {
    float r = floor(U.y * 24.0);
    albedo *= 0.8 + 0.3 * cell(vec2(floor(U.x * 9.0 + 0.5 * mod(r, 2.0)), r));
  }
  albedo *= mix(0.6, 1.0, smoothstep(0.0, 0.25, U.y + 0.2 * vn(P.xy * 1.5)));
  bool below = upright && !inside && f.y < w.z && f.x > w.x && f.x < w.y;
  if (below) albedo *= 1.0 - (0.1 + 0.25 * wear) * vn(vec2(U.x * 30.0, U.y)) * f.y / w.z;
  bool sill = f.y > w.z - 0.045 && f.y < w.z && f.x > w.x - 0.03 && f.x < w.y + 0.03;
  if (upright && !inside && sill) albedo = albedo * 0.4 + 0.22;
  if (inside && !frame) {
    float curtain = cell(c + 17.0 + floor(house * 40.0)), depth = cell(c + 29.0);
    float drawn = step(0.5, curtain) * step(w.x + (w.y - w.x) * (curtain - 0.3), f.x);
    vec3 room = vec3(0.015 + 0.05 * depth) * (0.4 + 1.2 * vn(U * vec2(3.0, 2.0) + depth * 30.0));
    albedo = mix(room, vec3(0.34, 0.32, 0.29) * (0.7 + 0.4 * vn(vec2(U.x * 40.0, 0.5))), 0.7 * drawn);
    rough = 0.03; spec = 0.07 + 0.25 * house * house;
    occlusion *= 0.6 + 0.4 * smoothstep(0.0, 0.1, w.w - f.y);
    n = normalize(n + 0.035 * vec3(cell(c + 3.0) - 0.5, cell(c + 71.0) - 0.5, cell(c + 113.0) - 0.5));
#ifdef LAMPS
    if (cell(c + floor(house * 200.0) + floor(P.xy / 9.0)) > 0.62) {
      float cold = step(0.85, cell(c + 5.0));
      emission = mix(vec3(0.65, 0.43, 0.2), vec3(0.5, 0.54, 0.58), cold) * (0.1 + 0.9 * depth)
        * (0.3 + 0.9 * vn(U * vec2(3.0, 4.0) + depth * 9.0));
    }
#endif
  }
  if (frame) albedo = vec3(house < 0.45 ? 0.5 : (house < 0.7 ? 0.1 : 0.22)) * vec3(1.0, 0.95, 0.88);
""",
}
