// Runs in a page before its own scripts: cameras that show drawn people, each another one, so that
// a picture of a meeting looks like a meeting and one can tell who is who.

(() => {
  const SKIN = ['#f1c9a5', '#d9a066', '#8d5a3b', '#ffdbc2', '#b97f56', '#6b4230', '#e8b88f'];
  const HAIR = ['#2b2118', '#6b4226', '#c98f4a', '#1b1b1f', '#8a8a8e', '#a3502c', '#3c2a4d'];

  /** A stream of somebody's picture; `who` is any number. */
  globalThis.portrait = (who, { width = 1280, height = 720, fps = 20 } = {}) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const pen = canvas.getContext('2d');
    const paint = () => {
      pen.setTransform(width / 1280, 0, 0, height / 720, 0, 0);
      const hue = (who * 47) % 360;
      room(pen, who, hue);
      person(pen, who, hue, Math.sin(performance.now() / 900 + who));
    };
    setInterval(paint, 1000 / fps);
    paint();
    return canvas.captureStream(fps);
  };

  function room(pen, who, hue) {
    const wall = pen.createLinearGradient(0, 0, 1280, 720);
    wall.addColorStop(0, `hsl(${hue} 26% 84%)`);
    wall.addColorStop(1, `hsl(${hue + 30} 24% 62%)`);
    pen.fillStyle = wall;
    pen.fillRect(0, 0, 1280, 720);
    if (who % 3 === 0) shelf(pen, hue);
    else if (who % 3 === 1) windowPane(pen);
    else plant(pen, hue);
  }

  function shelf(pen, hue) {
    for (let row = 0; row < 3; row += 1) {
      for (let book = 0; book < 9; book += 1) {
        const tall = 70 + ((book * 37 + row * 23) % 50);
        pen.fillStyle = `hsl(${(hue + book * 41 + row * 67) % 360} 32% ${38 + ((book * 13) % 30)}%)`;
        pen.fillRect(60 + book * 34, 190 + row * 160 - tall, 26, tall);
      }
      pen.fillStyle = 'hsl(28 30% 34%)';
      pen.fillRect(40, 190 + row * 160, 330, 14);
    }
  }

  function windowPane(pen) {
    const sky = pen.createLinearGradient(0, 60, 0, 420);
    sky.addColorStop(0, '#bfe0f5');
    sky.addColorStop(1, '#f7efdd');
    pen.fillStyle = '#fbf8f1';
    pen.fillRect(900, 50, 300, 400);
    pen.fillStyle = sky;
    pen.fillRect(918, 68, 126, 364);
    pen.fillRect(1056, 68, 126, 364);
  }

  function plant(pen, hue) {
    pen.fillStyle = `hsl(${(hue + 20) % 360} 35% 48%)`;
    pen.beginPath();
    pen.roundRect(1010, 520, 150, 200, 16);
    pen.fill();
    pen.strokeStyle = 'hsl(140 35% 32%)';
    pen.lineWidth = 26;
    pen.lineCap = 'round';
    for (const lean of [-150, -80, -10, 70, 140]) {
      pen.beginPath();
      pen.moveTo(1085, 530);
      pen.quadraticCurveTo(1085 + lean * 0.3, 380, 1085 + lean, 290 + Math.abs(lean) * 0.7);
      pen.stroke();
    }
  }

  function person(pen, who, hue, sway) {
    const x = 640 + sway * 16;
    const skin = SKIN[who % SKIN.length];
    const hair = HAIR[(who * 3 + 1) % HAIR.length];
    const ellipse = (cx, cy, rx, ry, from = 0, to = 7) => {
      pen.beginPath();
      pen.ellipse(cx, cy, rx, ry, 0, from, to);
      pen.fill();
    };
    pen.fillStyle = hair;
    if (who % 2 === 0) ellipse(x, 360, 172, 232);
    pen.fillStyle = `hsl(${(hue + 190) % 360} 34% 36%)`;
    ellipse(x - sway * 6, 800, 350, 280);
    pen.fillStyle = skin;
    pen.beginPath();
    pen.roundRect(x - 58, 440, 116, 130, 50);
    pen.fill();
    pen.fillStyle = hair;
    ellipse(x, 290, 148, 160);
    pen.fillStyle = skin;
    ellipse(x, 348, 126, 156);
    pen.fillStyle = hair;
    ellipse(x, 250, 136, 84, Math.PI, 0);
    pen.fillStyle = '#2a2320';
    ellipse(x - 46, 340, 10, 13);
    ellipse(x + 46, 340, 10, 13);
    pen.strokeStyle = '#2a2320';
    pen.lineCap = 'round';
    pen.lineWidth = 7;
    pen.beginPath();
    pen.arc(x, 390, 44, 0.35, Math.PI - 0.35);
    pen.stroke();
    if (who % 4 !== 1) return;
    pen.lineWidth = 6;
    for (const side of [-46, 46]) {
      pen.beginPath();
      pen.arc(x + side, 342, 36, 0, 7);
      pen.stroke();
    }
  }
})();
