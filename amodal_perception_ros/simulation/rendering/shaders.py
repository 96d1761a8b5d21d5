"""GLSL sources of the renderer: one colour shader per material kind, ids, shadows, sky, averaging."""

from __future__ import annotations

from amodal_perception_ros.labels import SEGMENT_FACTOR
from amodal_perception_ros.simulation.assets.meshes import Kind
from amodal_perception_ros.simulation.rendering.lamp_grid import CELL, CELLS, MAX_LAMPS, REACH, SLOTS
from amodal_perception_ros.simulation.rendering.surface_shaders import SURFACE

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
uniform float fog, clouds, cloud_scale; uniform vec2 cloud_place;
float vn(vec2 p) { return texture(noise_map, p * (1.0 / 64.0)).r; }
float cell(vec2 c) { return texelFetch(noise_map, ivec2(mod(c, 256.0)), 0).g; }
float hash3(vec3 c) { return fract(dot(c, vec3(371.3, 917.7, 523.1))); }
vec3 clear_sky(vec3 d) {
  float z = clamp(d.z, 0.0, 1.0), m = clamp(dot(d, sun), 0.0, 1.0), m2 = m * m, m8 = m2 * m2 * m2 * m2;
  float low = 1.0 - z;
  return mix(zenith, horizon, low * low * low) + sun_color * (0.05 * m2 + 0.1 * m8 * m8);
}
vec3 sky(vec3 d) {
  float z = clamp(d.z, 0.0, 1.0);
  vec3 c = clear_sky(d);
  if (sun_color.x > 0.5) c += sun_color * 6.0 * smoothstep(0.9993, 0.9997, dot(d, sun));
  vec2 q = d.xy / (z + 0.12) * (2.2 * cloud_scale) + cloud_place;
  float n = 0.56 * vn(q) + 0.26 * vn(q * 2.7 + 9.0) + 0.12 * vn(q * 6.3) + 0.06 * vn(q * 15.0);
  float toward = 0.6 * vn(q + sun.xy * 0.35) + 0.4 * vn(q * 2.7 + 9.0 + sun.xy * 0.5);
  float edge = 0.82 - 0.6 * clouds;
  float cover = smoothstep(edge, edge + 0.16, n) * smoothstep(0.0, 0.1, clouds);
  float lit = clamp(0.55 + 2.2 * (n - toward) - 0.8 * (n - edge) * (1.0 - 0.7 * clouds), 0.0, 1.0);
  vec3 cloud = ambient * (0.85 + 0.85 * lit) + sun_color * (0.08 + 0.3 * lit * lit);
  cloud = mix(cloud, horizon, clamp(1.0 - z * 3.0, 0.0, 0.8));
  return mix(c, cloud, cover * clamp(z * 10.0, 0.0, 1.0));
}
"""

_SCENE_HEAD = f"""
const float lamp_reach = {REACH:.1f}, lamp_cell = {CELL:.1f}; const int lamp_cells = {CELLS}, lamp_slots = {SLOTS};
in vec3 P; in vec3 N; in vec3 L; in vec2 U; in vec4 C; in float A; flat in float S;
layout(location = 0) out vec4 result;
uniform vec3 eye; uniform mat4 sun_projection; uniform sampler2DShadow sun_map; uniform sampler2D contact;
uniform vec4 contact_frame; uniform vec4 lamp[{MAX_LAMPS}]; uniform vec4 lamp_axis[{MAX_LAMPS}];
uniform float lights, look, wear, street_lights, vehicle_lights, puddles, mirroring;
uniform sampler2D mirror, lamp_map; uniform vec2 screen, lamp_low; uniform vec3 lamp_color;
"""

_SCENE_MAIN = """
#ifdef CLEAR
vec3 surroundings(vec3 R) {
  float turn = R.x / (abs(R.x) + abs(R.y) + 1e-3) + (R.y > 0.0 ? 2.0 : 0.0);
  float house = floor(turn * 7.0), skyline = 0.08 + 0.5 * cell(vec2(house, 3.0)) * cell(vec2(house, 8.0));
  vec3 wall = (0.25 * ambient + 0.1 * sun_color * cell(vec2(house, 31.0))) * (0.5 + cell(vec2(house, 17.0)));
  wall *= 0.6 + 0.8 * vn(vec2(turn * 90.0, R.z * 40.0));
  vec3 open = R.z > 0.0 ? clear_sky(R) : ambient * 0.15;
  if (R.z > 0.02) {
    vec2 q = R.xy / (R.z + 0.12) * (2.2 * cloud_scale) + cloud_place;
    float cover = smoothstep(0.85 - 0.6 * clouds, 1.0 - 0.6 * clouds, vn(q) + 0.15);
    open = mix(open, ambient * 1.1 + sun_color * 0.2, cover);
  }
  return mix(wall, open, smoothstep(skyline - 0.01, skyline + 0.01, R.z));
}
#endif
void main() {
  vec3 albedo = C.rgb, emission = vec3(0.0); float rough = C.a, spec = 0.04, occlusion = A;
  vec3 V = normalize(P - eye); vec3 n = N / max(length(N), 1e-6); if (dot(n, V) > 0.0) n = -n;
  {
  %(surface)s
  }
#ifdef GROUND
  vec2 q = (P.xy - contact_frame.xy) * contact_frame.zw;
  if (all(greaterThan(q, vec2(0.0))) && all(lessThan(q, vec2(1.0)))) occlusion *= 1.0 - 0.85 * texture(contact, q).r;
#ifdef WET
  float level = 0.6 * vn(P.xy * 0.3 + 7.0) + 0.4 * vn(P.xy * 0.9);
  float puddle = smoothstep(0.03, -0.03, level - 0.25 - 0.45 * puddles);
  float grain = 1.0 - 0.95 * puddle; vec2 ripple = vec2(vn(P.xy * 23.0), vn(P.xy * 23.0 + 9.0)) - 0.5;
  rough = 0.3 - 0.25 * puddle; spec = 0.025; albedo *= 0.55 - 0.15 * puddle;
  n = normalize(n + 0.04 * grain * vec3(ripple, 0.0));
#endif
#endif
  float nd = dot(n, sun), diffuse = clamp(nd, 0.0, 1.0), shadow = 1.0;
#ifdef LEAFY
  diffuse = 0.25 + 0.45 * abs(nd);
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
    float grazing = 1.0 - clamp(-dot(n, V), 0.0, 1.0), g2 = grazing * grazing;
    float F = spec + (1.0 - spec) * g2 * g2 * grazing * (1.0 - rough) * (1.0 - rough);
#ifdef WET
    vec3 image = clear_sky(vec3(R.xy, abs(R.z)));
    vec2 at = gl_FragCoord.xy / screen + ripple * grain * vec2(0.006, 0.03);
    float spread = 0.03 * grain, jitter = cell(gl_FragCoord.xy); vec4 seen = vec4(0.0);
    for (int i = -1; i < 3; i++) seen += texture(mirror, at + vec2(0.0, (float(i) + jitter - 0.5) * spread));
    image = mix(image, seen.rgb * 0.25, seen.a * 0.25 * mirroring);
    F *= 0.55 + 0.45 * puddle; c = mix(c, image, F * (0.3 + 0.7 * occlusion));
#elif defined(CLEAR)
    c = mix(c, surroundings(R), F * occlusion);
#else
    c = mix(c, mix(0.3 * ambient, horizon, smoothstep(-0.1, 0.3, R.z)), F * occlusion);
#endif
    c += pow(clamp(dot(R, sun), 0.0, 1.0), 2.0 / pow(max(rough, 0.06), 2.0)) * shadow * (1.0 - rough) * sun_color * 0.6;
  }
#endif
#ifdef LAMPS
  ivec2 place = ivec2(floor((P.xy - lamp_low) / lamp_cell));
  if (all(greaterThanEqual(place, ivec2(0))) && all(lessThan(place, ivec2(lamp_cells)))) {
    vec4 first = texelFetch(lamp_map, place, 0), second = texelFetch(lamp_map, place + ivec2(lamp_cells, 0), 0);
    float slots[8] = float[](first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w);
    for (int k = 0; k < lamp_slots; k++) {
      if (slots[k] < 0.0) break;
      int i = int(slots[k]);
      vec3 d = lamp[i].xyz - P; float r2 = dot(d, d) + 0.5, reach = min(r2 / (lamp_reach * lamp[i].w), 1.0);
      vec3 l = d * inversesqrt(r2);
      float along = dot(-l, lamp_axis[i].xyz), cone = smoothstep(lamp_axis[i].w, mix(lamp_axis[i].w, 1.0, 0.6), along);
      if (lamp[i].w > 40.0) { float h = along * along; h *= h; h *= h; h *= h; h *= h; cone *= 0.1 + 1.6 * h * h; }
      float lit = clamp(dot(n, l), 0.0, 1.0) * occlusion;
#ifdef GLOSSY
      if (rough < 0.55) { float h = clamp(dot(R, l), 0.0, 1.0); h *= h; h *= h; h *= h; lit += 0.8 * h * h * h; }
#endif
      vec3 tint = lamp[i].w < 10.0 ? vec3(1.0, 0.06, 0.03)
        : lamp[i].w < 40.0 ? lamp_color : vec3(1.0, 0.95, 0.85);
      c += albedo * tint * (lit * cone * min(lamp[i].w / r2, 5.0) * (1.0 - reach * reach));
    }
  }
#endif
  c += emission;
  float toward = clamp(dot(V, sun), 0.0, 1.0); toward *= toward; toward *= toward;
  c = mix(c, fog_color + sun_color * (0.12 * toward * toward), 1.0 - exp(-fog * distance(P, eye)));
  result = vec4(c, 1.0);
}
"""

GROUND = (Kind.ASPHALT, Kind.MARKING, Kind.PAVING, Kind.GRASS)
_GLOSSY = (Kind.PLAIN, Kind.PAINT, Kind.GLASS, Kind.FACADE, Kind.LAMP)
_CLEAR = (Kind.PAINT, Kind.GLASS, Kind.FACADE)


def scene_sources(kind: Kind, shadows: bool, lamps: bool, wet: bool) -> tuple[str, str]:
    """Return (vertex, fragment) sources of the colour shader of one material kind under one weather."""
    defines = {
        "PALETTE": kind in (Kind.PAINT, Kind.CLOTH),
        "SHADOWS": shadows,
        "LAMPS": lamps,
        "GROUND": kind in GROUND,
        "WET": wet and kind in (Kind.ASPHALT, Kind.MARKING, Kind.PAVING),
        "GLOSSY": kind in _GLOSSY or (wet and kind in (Kind.ASPHALT, Kind.MARKING, Kind.PAVING)),
        "CLEAR": kind in _CLEAR,
        "LEAFY": kind == Kind.LEAF,
    }
    head = VERSION + "".join(f"#define {name}\n" for name, on in defines.items() if on)
    vertex = head + SCENE_VERTEX[len(VERSION) :]
    fragment = head + _COMMON + _SCENE_HEAD + _SCENE_MAIN.replace("%(surface)s", SURFACE[kind])
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
  float low = clamp(1.0 - d.z * 2.5, 0.0, 1.0), toward = clamp(dot(d, sun), 0.0, 1.0);
  toward *= toward; toward *= toward;
  float haze = (1.0 - exp(-fog * 400.0)) * low * low;
  result = vec4(mix(sky(d), fog_color + sun_color * (0.12 * toward * toward), haze), 1.0);
}
"""
)

RESOLVE_FRAGMENT = (
    VERSION
    + """
layout(location = 0) out vec4 result; uniform sampler2D picture; uniform int supersample;
void main() {
  ivec2 base = ivec2(gl_FragCoord.xy) * supersample; vec3 c = vec3(0.0);
  for (int i = 0; i < supersample; i++)
    for (int j = 0; j < supersample; j++) c += min(texelFetch(picture, base + ivec2(i, j), 0).rgb, vec3(60.0));
  result = vec4(c / float(supersample * supersample), 1.0);
}
"""
)
