"""GLSL sources of the renderer: one specialised colour shader per material kind, plus ids, shadow, sky and film."""

from __future__ import annotations

from amodal_perception_ros.labels import SEGMENT_FACTOR
from amodal_perception_ros.simulation.meshes import Kind

MAX_LAMPS = 24
VERSION = "#version 330\n"

SCENE_VERTEX = (
    VERSION
    + """
in vec3 position; in vec3 normal; in vec2 uv; in vec4 color; in float slot; in float ao;
uniform mat4 view_projection; uniform mat4 model; uniform vec3 palette[4];
out vec3 P; out vec3 N; out vec3 L; out vec2 U; out vec4 C; out float A; flat out float S;
void main() {
  vec4 world = model * vec4(position, 1.0);
  P = world.xyz; L = position; N = mat3(model) * normal; U = uv; A = ao; S = slot; C = color;
#ifdef PALETTE
  if (slot > 0.5) C.rgb = palette[int(slot + 0.5) - 1];
#endif
  gl_Position = view_projection * world;
}
"""
)

_COMMON = """
uniform sampler2D noise_map;
uniform vec3 sun, sun_color, ambient, fog_color, zenith, horizon;
uniform float fog, clouds;
float vn(vec2 p) { return texture(noise_map, p * (1.0 / 64.0)).r; }
float cell(vec2 c) { return texelFetch(noise_map, ivec2(mod(c, 256.0)), 0).g; }
vec3 sky(vec3 d) {
  float z = clamp(d.z, 0.0, 1.0);
  vec3 c = mix(zenith, horizon, pow(1.0 - z, 3.0));
  if (sun_color.x > 0.8) {
    float m = clamp(dot(d, sun), 0.0, 1.0);
    c += sun_color * (0.12 * pow(m, 24.0) + 6.0 * smoothstep(0.9993, 0.9997, m));
  }
  vec2 q = d.xy / max(z, 0.05);
  float n = 0.55 * vn(q * 1.3) + 0.27 * vn(q * 2.9) + 0.13 * vn(q * 6.1) + 0.06 * vn(q * 13.0);
  vec3 cloud = mix(horizon, ambient * 1.25, 0.5);
  float cover = clamp((n - 0.72 + 0.4 * clouds) * 3.0, 0.0, 1.0) * clamp(clouds * 3.0, 0.0, 1.0);
  return mix(c, cloud * 1.15, cover * clamp(z * 8.0, 0.0, 1.0));
}
"""

_SCENE_HEAD = """
in vec3 P; in vec3 N; in vec3 L; in vec2 U; in vec4 C; in float A; flat in float S;
layout(location = 0) out vec4 result;
uniform vec3 eye; uniform mat4 sun_projection; uniform sampler2DShadow sun_map; uniform sampler2D contact;
uniform vec4 contact_frame; uniform int lamp_count; uniform vec4 lamp[24]; uniform vec4 lamp_axis[24];
uniform float lights; uniform float look;
"""

_SURFACE: dict[Kind, str] = {
    Kind.PLAIN: "",
    Kind.CLOTH: "albedo *= 0.8 + 0.4 * vn(L.xz * 22.0 + look * 17.0) * (0.6 + 0.8 * vn(L.yz * 60.0));",
    Kind.ASPHALT: """
  float big = vn(P.xy * 0.35 + look), fine = vn(P.xy * 40.0), mid = vn(P.xy * 2.0);
  albedo *= 0.45 + 0.45 * big + 0.25 * mid + 0.45 * fine;
  float crack = smoothstep(0.012, 0.0, abs(vn(P.xy * 0.45 + 13.0) - 0.5)) * smoothstep(0.5, 0.62, vn(P.xy * 0.2 + 3.0));
  albedo *= 1.0 - 0.28 * crack;
  vec2 patch_cell = floor(P.xy / vec2(7.0, 3.1)); float patched = step(0.93, cell(patch_cell + 40.0 + look * 9.0));
  albedo *= 1.0 - 0.3 * patched;
""",
    Kind.MARKING: """
  float wear = smoothstep(0.3, 0.62, 0.55 * vn(P.xy * 3.0) + 0.45 * vn(P.xy * 21.0));
  albedo = mix(vec3(0.13), albedo, 0.25 + 0.75 * wear);
""",
    Kind.PAVING: """
  float w = 0.3 + 0.35 * floor(look * 3.0);
  vec2 q = P.xy / w; q.x += 0.5 * mod(floor(q.y), 2.0); vec2 g = fract(q);
  albedo *= ((g.x < 0.03 || g.y < 0.03) ? 0.62 : 1.0) * (0.78 + 0.26 * cell(floor(q))) * (0.72 + 0.5 * vn(P.xy * 1.5));
""",
    Kind.GRASS: "albedo *= 0.35 + vn(P.xy * 6.0) * 0.6 + 0.6 * vn(P.xy * 0.7) + 0.4 * vn(P.xy * 40.0);",
    Kind.BRICK: """
  float row = floor(U.y / 0.08), bx = U.x + 0.12 * mod(row, 2.0);
  bool joint = mod(bx, 0.24) < 0.012 || mod(U.y, 0.08) < 0.012;
  albedo = joint ? vec3(0.36) : albedo * (0.6 + 0.7 * cell(vec2(floor(bx / 0.24), row)));
  albedo *= 0.7 + 0.5 * vn(U * 1.3);
""",
    Kind.ROOF: """
  float tile = fract(U.y / 0.3);
  albedo *= (0.65 + 0.4 * tile) * (0.75 + 0.5 * cell(floor(U / vec2(0.25, 0.3))));
""",
    Kind.LEAF: "albedo *= (0.45 + 0.9 * U.x) * (0.55 + 0.6 * U.y); ",
    Kind.PAINT: """
  spec = 0.06;
  albedo *= (0.93 + 0.1 * vn(L.xz * 3.0 + look * 31.0)) * mix(0.72, 1.0, smoothstep(0.15, 0.6, L.z));
""",
    Kind.GLASS: "spec = 0.09; albedo *= 0.6 + 0.9 * vn(L.xz * 1.5 + look * 13.0);",
    Kind.LAMP: """
#ifdef LAMPS
  float on = S < 0.5 ? 1.0 : (S > 2.5 ? 4.0 : (lights > 0.5 ? (S < 1.5 ? 6.0 : 2.0) : 0.0));
#else
  float on = S < 0.5 ? 1.0 : 0.0;
#endif
  emission = albedo * on * 1.6;
""",
    Kind.FACADE: """
  vec2 c = floor(U), f = U - c;
  bool upright = abs(n.z) < 0.5; bool ground = c.y < 0.5;
  vec4 w = S < 0.5 ? vec4(0.26, 0.74, 0.3, 0.82) : (S < 1.5 ? vec4(0.14, 0.86, 0.28, 0.86)
         : (S < 2.5 ? vec4(0.33, 0.67, 0.22, 0.84) : vec4(0.04, 0.96, 0.34, 0.8)));
  bool shop = ground && S > 0.5 && S < 2.5;
  if (shop) w = vec4(0.05, 0.95, 0.12, 0.84);
  bool inside = upright && f.x > w.x && f.x < w.y && f.y > w.z && f.y < w.w;
  vec2 edge = min(f - w.xz, w.yw - f);
  bool frame = inside && (edge.x < 0.028 || edge.y < 0.024 || abs(f.x - 0.5) < 0.012);
  albedo *= 0.74 + 0.3 * vn(P.xy * 0.8 + P.z) + 0.15 * vn(U * 25.0) + 0.16 * vn(vec2(U.x * 5.0, U.y * 0.5));
  if (S > 1.5 && S < 2.5) {
    float r = floor(U.y * 24.0);
    albedo *= 0.8 + 0.3 * cell(vec2(floor(U.x * 9.0 + 0.5 * mod(r, 2.0)), r));
  }
  albedo *= mix(0.7, 1.0, smoothstep(0.0, 0.2, U.y));
  bool sill = f.y > w.z - 0.045 && f.y < w.z && f.x > w.x - 0.03 && f.x < w.y + 0.03;
  if (upright && !inside && sill) albedo = albedo * 0.4 + 0.22;
  if (inside && !frame) {
    float curtain = cell(c + 17.0 + look * 40.0);
    float drawn = step(0.55, curtain) * step(w.x + (w.y - w.x) * curtain, f.x);
    albedo = mix(vec3(0.02), vec3(0.34, 0.32, 0.29), 0.65 * drawn);
    rough = 0.05; spec = 0.08; occlusion *= 0.5 + 0.5 * smoothstep(0.0, 0.1, w.w - f.y);
#ifdef LAMPS
    if (cell(c + floor(look * 200.0) + floor(P.xy / 9.0)) > 0.62) {
      float cold = step(0.85, cell(c + 5.0));
      emission = mix(vec3(0.65, 0.43, 0.2), vec3(0.5, 0.54, 0.58), cold) * (0.33 + 0.7 * vn(U * 4.0));
    }
#endif
  }
  if (frame) albedo = S < 1.5 ? vec3(0.58) : vec3(0.12);
""",
}

_SCENE_MAIN = """
void main() {
  vec3 albedo = C.rgb, emission = vec3(0.0); float rough = C.a, spec = 0.04, occlusion = A;
  vec3 V = normalize(P - eye); vec3 n = normalize(N); if (dot(n, V) > 0.0) n = -n;
  {
  %(surface)s
  }
#ifdef GROUND
  vec2 q = (P.xy - contact_frame.xy) * contact_frame.zw;
  if (all(greaterThan(q, vec2(0.0))) && all(lessThan(q, vec2(1.0)))) occlusion *= 1.0 - 0.85 * texture(contact, q).r;
#ifdef WET
  float puddle = smoothstep(0.45, 0.6, 0.6 * vn(P.xy * 0.3 + 7.0) + 0.4 * vn(P.xy * 0.9));
  rough = 0.3 - 0.25 * puddle; spec = 0.03 + 0.04 * puddle; albedo *= 0.6 - 0.2 * puddle;
  n = normalize(n + 0.03 * (1.0 - 0.7 * puddle) * vec3(vn(P.xy * 30.0) - 0.5, vn(P.xy * 30.0 + 9.0) - 0.5, 0.0));
#endif
#endif
  float nd = dot(n, sun), diffuse = clamp(nd, 0.0, 1.0), shadow = 1.0;
#ifdef LEAFY
  diffuse = 0.3 + 0.5 * abs(nd);
#endif
#ifdef SHADOWS
  vec4 s = sun_projection * vec4(P + n * 0.05, 1.0); s.xyz = s.xyz * 0.5 + 0.5;
  if (all(greaterThan(s.xyz, vec3(0.0))) && all(lessThan(s.xyz, vec3(1.0)))) {
    vec2 texel = 1.0 / vec2(textureSize(sun_map, 0)); shadow = 0.0;
    for (int i = 0; i < 4; i++)
      shadow += texture(sun_map, vec3(s.xy + (vec2(i & 1, i >> 1) - 0.5) * 1.3 * texel, s.z - 0.0006));
    shadow *= 0.25;
  }
#endif
  vec3 bounce = vec3(0.16, 0.14, 0.12) * (ambient + 0.08 * sun_color * max(sun.z, 0.0));
  vec3 around = (0.55 + 0.45 * n.z) * ambient + (0.5 - 0.5 * n.z) * bounce;
  vec3 c = albedo * (diffuse * shadow * sun_color * 0.55 + around * occlusion);
#ifdef GLOSSY
  vec3 R = reflect(V, n);
  if (rough < 0.55) {
    float F = spec + (1.0 - spec) * pow(1.0 - clamp(-dot(n, V), 0.0, 1.0), 5.0) * pow(1.0 - rough, 1.5);
    vec3 low = 0.3 * fog_color * (0.6 + 0.8 * vn(vec2(atan(R.y, R.x) * 9.0, R.z * 14.0))) + 0.1 * ambient;
    vec3 mirror = mix(low, sky(R), smoothstep(-0.02, 0.22, R.z));
    c = mix(c, mirror, F * occlusion);
    c += pow(clamp(dot(R, sun), 0.0, 1.0), 2.0 / pow(max(rough, 0.06), 2.0)) * shadow * (1.0 - rough) * sun_color * 0.6;
  }
#endif
#ifdef LAMPS
  for (int i = 0; i < lamp_count; i++) {
    vec3 d = lamp[i].xyz - P; float r2 = dot(d, d) + 0.5;
    if (r2 > 1600.0) continue;
    vec3 l = d * inversesqrt(r2);
    float cone = smoothstep(lamp_axis[i].w, mix(lamp_axis[i].w, 1.0, 0.6), dot(-l, lamp_axis[i].xyz));
    float lit = clamp(dot(n, l), 0.0, 1.0) * occlusion;
#ifdef GLOSSY
    if (rough < 0.55) lit += 0.8 * pow(clamp(dot(reflect(V, n), l), 0.0, 1.0), 24.0);
#endif
    vec3 tint = lamp[i].w < 40.0 ? vec3(1.0, 0.74, 0.45) : vec3(1.0, 0.95, 0.85);
    c += albedo * lit * cone * min(lamp[i].w / r2, 5.0) * tint;
  }
#endif
  c += emission;
  c = mix(c, fog_color, 1.0 - exp(-fog * distance(P, eye)));
  result = vec4(c, 1.0);
}
"""

_GROUND = (Kind.ASPHALT, Kind.MARKING, Kind.PAVING, Kind.GRASS)
_GLOSSY = (Kind.PLAIN, Kind.PAINT, Kind.GLASS, Kind.FACADE, Kind.LAMP)


def scene_sources(kind: Kind, shadows: bool, lamps: bool, wet: bool) -> tuple[str, str]:
    """Return (vertex, fragment) sources of the colour shader of one material kind under one weather."""
    defines = {
        "PALETTE": kind in (Kind.PAINT, Kind.CLOTH),
        "SHADOWS": shadows,
        "LAMPS": lamps,
        "GROUND": kind in _GROUND,
        "WET": wet and kind in (Kind.ASPHALT, Kind.MARKING, Kind.PAVING),
        "GLOSSY": kind in _GLOSSY or (wet and kind in (Kind.ASPHALT, Kind.MARKING, Kind.PAVING)),
        "LEAFY": kind == Kind.LEAF,
    }
    head = VERSION + "".join(f"#define {name}\n" for name, on in defines.items() if on)
    vertex = head + SCENE_VERTEX[len(VERSION) :]
    fragment = head + _COMMON + _SCENE_HEAD + _SCENE_MAIN.replace("%(surface)s", _SURFACE[kind])
    return vertex, fragment


TRUTH_VERTEX = (
    VERSION
    + f"const float SEGMENT_FACTOR = {SEGMENT_FACTOR:.1f};"
    + """
in vec3 position; in float cls;
uniform mat4 view_projection; uniform mat4 model; uniform vec4 depth_row; uniform float segment;
flat out float Id; out float Z;
void main() {
  vec4 world = model * vec4(position, 1.0);
  Id = cls > 0.5 ? cls * SEGMENT_FACTOR : segment;
  Z = dot(depth_row, world); gl_Position = view_projection * world;
}
"""
)
TRUTH_FRAGMENT = (
    VERSION
    + "flat in float Id; in float Z; layout(location = 0) out vec2 result; void main() { result = vec2(Id, Z); }"
)

SHADOW_VERTEX = (
    VERSION
    + "in vec3 position; uniform mat4 view_projection; uniform mat4 model;"
    + "void main() { gl_Position = view_projection * model * vec4(position, 1.0); }"
)
SHADOW_FRAGMENT = VERSION + "void main() {}"

CONTACT_VERTEX = (
    VERSION
    + "in vec2 corner; in vec4 frame; in vec3 shape; out vec2 Q; out vec3 H; uniform vec4 contact_frame;"
    + "void main() { vec2 r = shape.xy + 0.7; Q = corner * r; H = shape;"
    + " vec2 p = frame.xy + Q.x * frame.zw + Q.y * vec2(-frame.w, frame.z);"
    + " gl_Position = vec4((p - contact_frame.xy) * contact_frame.zw * 2.0 - 1.0, 0.0, 1.0); }"
)
CONTACT_FRAGMENT = (
    VERSION
    + "in vec2 Q; in vec3 H; layout(location = 0) out vec4 result;"
    + "void main() { vec2 d = max(abs(Q) - H.xy + 0.25, 0.0);"
    + " result = vec4(H.z * (1.0 - smoothstep(0.0, 0.85, length(d)))); }"
)

SCREEN_VERTEX = (
    VERSION + "in vec2 corner; out vec2 Q; void main() { Q = corner; gl_Position = vec4(corner, 1.0, 1.0); }"
)

SKY_FRAGMENT = (
    VERSION
    + "in vec2 Q; layout(location = 0) out vec4 result; uniform mat3 world_from_camera; uniform vec4 lens;"
    + _COMMON
    + """
void main() {
  vec3 d = normalize(world_from_camera * vec3(Q.x * lens.x + lens.z, -Q.y * lens.y + lens.w, 1.0)); d.z = max(d.z, 0.0);
  float haze = (1.0 - exp(-fog * 400.0)) * pow(clamp(1.0 - d.z * 2.5, 0.0, 1.0), 2.0);
  result = vec4(mix(sky(d), fog_color, haze), 1.0);
}
"""
)

FILM_FRAGMENT = (
    VERSION
    + """
in vec2 Q; layout(location = 0) out vec4 result;
uniform sampler2D picture; uniform vec2 size; uniform int supersample, seed;
uniform float exposure, noise, rain, glow; uniform vec3 gain;
float hash(vec2 p, int k) {
  uint n = uint(int(p.x)) * 374761393u + uint(int(p.y)) * 668265263u + uint(seed + k) * 2246822519u;
  n = (n ^ (n >> 13)) * 1274126177u; n = (n ^ (n >> 15)) * 2246822519u; return float((n >> 8) & 0xffffu) / 65535.0;
}
vec3 tone(vec3 c) {
  c *= exposure * gain;
  return clamp(c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14), 0.0, 1.0);
}
void main() {
  ivec2 base = ivec2(gl_FragCoord.xy) * supersample; vec3 c = vec3(0.0);
  for (int i = 0; i < supersample; i++)
    for (int j = 0; j < supersample; j++) c += tone(texelFetch(picture, base + ivec2(i, j), 0).rgb);
  c /= float(supersample * supersample);
  vec2 u = gl_FragCoord.xy / size;
  vec3 bloom = 0.5 * textureLod(picture, u, 4.0).rgb + 0.5 * textureLod(picture, u, 5.5).rgb;
  c += 0.06 * max(bloom - (glow > 0.5 ? 0.15 : 0.9), 0.0) * (glow > 0.5 ? 4.0 : 1.0);
  if (rain > 0.5) {
    vec2 g = gl_FragCoord.xy / (size.y / 288.0) / vec2(3.0, 40.0) + vec2(gl_FragCoord.y * 0.012, 0.0);
    vec2 k = floor(g);
    float r = hash(k + vec2(500.0), 7);
    if (r > 0.93) c += 0.1 * (1.0 - abs(fract(g.x) - 0.5) * 2.0) * smoothstep(0.0, 0.5, fract(g.y)) * (r - 0.9) * 10.0;
  }
  c *= 1.0 - 0.09 * dot(Q, Q);
  c = pow(clamp(c, 0.0, 1.0), vec3(1.0 / 2.2));
  c += noise * 1.7 * (hash(gl_FragCoord.xy, 1) + hash(gl_FragCoord.xy, 2) - 1.0 + 0.5 * (vec3(hash(gl_FragCoord.xy, 3),
    hash(gl_FragCoord.xy, 4), hash(gl_FragCoord.xy, 5)) - 0.5));
  result = vec4(c, 1.0);
}
"""
)
