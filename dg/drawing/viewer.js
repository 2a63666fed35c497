// Poses in 3D on a canvas: drag turns, the wheel zooms, the slider scrubs. No library, no network.
// One call for each figure; `data` is what dg/drawing/viewer.py writes.
window.dgViewer = window.dgViewer || function (figure, data) {
  "use strict";
  const view = figure.querySelector(".dg-view"), pen = view.getContext("2d");
  const picture = figure.querySelector(".dg-picture"), ink = picture && picture.getContext("2d");
  const slider = figure.querySelector(".dg-slider"), button = figure.querySelector(".dg-play");
  const depth = figure.querySelector(".dg-depth"), caption = figure.querySelector(".dg-caption");
  const images = new Map();
  let yaw = 0.55, pitch = 0.22, zoom = 1, frame = 0, timer = 0, showDepth = false;

  // The box around all poses of all frames: the scale does not change while a clip plays.
  let low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  const visit = (pose) => {
    for (let i = 0; i < pose.length; i += 3) {
      if (pose[i] === null) continue;
      for (let a = 0; a < 3; a++) {
        low[a] = Math.min(low[a], pose[i + a]);
        high[a] = Math.max(high[a], pose[i + a]);
      }
    }
  };
  data.frames.forEach((f) => { f.poses.forEach(visit); f.references.forEach(visit); });
  if (low[0] > high[0]) { low = [-500, -900, -500]; high = [500, 900, 500]; }
  const middle = low.map((v, a) => (v + high[a]) / 2);
  const radius = Math.max(600, Math.hypot(...low.map((v, a) => high[a] - v)) / 2);

  // Camera axes (x right, y down, z away) to the canvas, seen from behind the camera and turned by the mouse.
  function project(x, y, z) {
    const u = x - middle[0], v = y - middle[1], w = z - middle[2];
    const x1 = u * Math.cos(yaw) + w * Math.sin(yaw), z1 = w * Math.cos(yaw) - u * Math.sin(yaw);
    const y1 = v * Math.cos(pitch) - z1 * Math.sin(pitch), z2 = z1 * Math.cos(pitch) + v * Math.sin(pitch);
    const near = 4 * radius, scale = zoom * 0.46 * Math.min(view.width, view.height) / radius * near / (near + z2);
    return [view.width / 2 + x1 * scale, view.height / 2 + y1 * scale, z2];
  }

  function line(target, a, b, colour, width) {
    target.strokeStyle = colour;
    target.lineWidth = width;
    target.lineCap = "round";
    target.beginPath();
    target.moveTo(a[0], a[1]);
    target.lineTo(b[0], b[1]);
    target.stroke();
  }

  function floor() {
    const step = 500, y = high[1];
    const from = [0, 2].map((a) => Math.floor((low[a] - 300) / step) * step);
    const to = [0, 2].map((a) => Math.ceil((high[a] + 300) / step) * step);
    for (let x = from[0]; x <= to[0]; x += step) line(pen, project(x, y, from[1]), project(x, y, to[1]), "#dddddd", 1);
    for (let z = from[1]; z <= to[1]; z += step) line(pen, project(from[0], y, z), project(to[0], y, z), "#dddddd", 1);
  }

  function bones(pose, colour, width) {
    const found = [];
    data.bones.forEach(([a, b, side]) => {
      if (pose[3 * a] === null || pose[3 * b] === null) return;
      const p = project(pose[3 * a], pose[3 * a + 1], pose[3 * a + 2]);
      const q = project(pose[3 * b], pose[3 * b + 1], pose[3 * b + 2]);
      found.push([p, q, colour || data.colours[side], width, (p[2] + q[2]) / 2]);
    });
    return found;
  }

  function drawPoses(shown) {
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, view.width, view.height);
    floor();
    const all = [];
    shown.references.forEach((pose) => all.push(...bones(pose, "#a0a0a0", 3)));
    shown.poses.forEach((pose) => all.push(...bones(pose, "", 5)));
    all.sort((one, two) => two[4] - one[4]).forEach(([p, q, colour, width]) => line(pen, p, q, colour, width));
    pen.fillStyle = "#333333";
    pen.font = "15px sans-serif";
    shown.poses.forEach((pose, i) => {
      const top = data.top;
      if (!shown.labels[i] || pose[3 * top] === null) return;
      const [x, y] = project(pose[3 * top], pose[3 * top + 1] - 120, pose[3 * top + 2]);
      pen.fillText(shown.labels[i], x - 4, y);
    });
    const axis = 0.25 * radius, at = [low[0], high[1], low[2]];
    [["x", [axis, 0, 0]], ["y", [0, -axis, 0]], ["z", [0, 0, axis]]].forEach(([name, d]) => {
      const tip = project(at[0] + d[0], at[1] + d[1], at[2] + d[2]);
      line(pen, project(...at), tip, "#888888", 1.5);
      pen.fillText(name === "y" ? "up" : name, tip[0] + 3, tip[1] - 3);
    });
  }

  function drawPicture(shown) {
    if (!ink) return;
    const source = showDepth && shown.depth ? shown.depth : shown.picture;
    const [width, height] = shown.size;
    picture.width = width;
    picture.height = height;
    ink.fillStyle = "#f2f2f2";
    ink.fillRect(0, 0, width, height);
    const over = () => shown.joints.forEach((joints) => data.bones.forEach(([a, b, side]) => {
      if (joints[2 * a] === null || joints[2 * b] === null) return;
      const p = [joints[2 * a], joints[2 * a + 1]], q = [joints[2 * b], joints[2 * b + 1]];
      line(ink, p, q, "rgba(0,0,0,0.5)", Math.max(4, width / 130));
      line(ink, p, q, side === 2 && source ? "#ffffff" : data.colours[side], Math.max(2, width / 240));
    }));
    if (!source) return over();
    let image = images.get(source);
    const paint = () => { ink.drawImage(image, 0, 0, width, height); over(); };
    if (image) return image.complete ? paint() : undefined;
    image = new Image();
    images.set(source, image);
    image.onload = () => { if (data.frames[frame] === shown) paint(); };
    image.src = source;
  }

  function draw() {
    const shown = data.frames[frame];
    drawPoses(shown);
    drawPicture(shown);
    if (caption) caption.textContent = shown.caption;
    figure.dataset.frame = frame;
  }

  function go(to) {
    frame = (to + data.frames.length) % data.frames.length;
    if (slider) slider.value = frame;
    draw();
  }

  view.addEventListener("pointerdown", (event) => { view.setPointerCapture(event.pointerId); });
  view.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    yaw -= event.movementX / 120;
    pitch = Math.max(-1.5, Math.min(1.5, pitch + event.movementY / 120));
    draw();
  });
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom = Math.max(0.3, Math.min(8, zoom * Math.exp(-event.deltaY / 600)));
    draw();
  }, { passive: false });
  view.addEventListener("dblclick", () => { yaw = 0.55; pitch = 0.22; zoom = 1; draw(); });
  if (slider) slider.addEventListener("input", () => go(Number(slider.value)));
  if (depth) depth.addEventListener("change", () => { showDepth = depth.checked; draw(); });
  if (button) button.addEventListener("click", () => {
    if (timer) { clearInterval(timer); timer = 0; } else timer = setInterval(() => go(frame + 1), 1000 / data.fps);
    button.textContent = timer ? "pause" : "play";
  });
  draw();
};
