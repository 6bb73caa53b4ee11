// One picture before and after, with a line between them that can be dragged. All pictures share its place.
// Where a photo has several faces, they can be framed and chosen. What may change can be painted on it.
import { reactive } from "vue";

const shared = reactive({ split: 50 });

export default {
  template: `
    <figure class="tile" :class="{small}" :style="{'--ratio': ratio, '--split': shared.split + '%'}">
      <div class="frame">
        <canvas ref="before" role="img" :aria-label="name + ', before'"></canvas>
        <canvas ref="after" class="after" role="img" :aria-label="name + ', after'"></canvas>
        <template v-if="!small">
          <span class="side" v-show="shared.split > 14">before</span>
          <span class="side right" v-show="shared.split < 88">after</span>
          <div class="divider"><span>‹ ›</span></div>
          <input type="range" min="0" max="100" step="0.1" v-model.number="shared.split"
            aria-label="Where the picture before ends and the one after begins"
            @pointerdown="$emit('pick')" @dblclick="shared.split = shared.split > 1 ? 0 : 50" />
          <button v-for="face in faces" :key="face.number" class="face" :class="{chosen: face.chosen}"
            :style="{left: face.left, top: face.top, width: face.width, height: face.height}"
            :aria-label="'Edit face ' + face.number" :aria-pressed="face.chosen"
            @click="$emit('face', face.number)"><b>{{ face.number }}</b></button>
        </template>
        <button v-else class="picker" :aria-label="'Show ' + name" :title="name" @click="$emit('pick')"></button>
        <canvas ref="mask" class="mask" v-show="brush && !small" aria-label="What may change"
          @pointerdown="begin" @pointermove="paint" @pointerup="end" @pointercancel="end"></canvas>
        <button class="drop" aria-label="Remove this picture" title="Remove" @click="$emit('drop')">×</button>
      </div>
      <figcaption v-if="!small">{{ name }}</figcaption>
    </figure>`,
  props: { name: String, before: String, after: String, ratio: Number, small: Boolean, faces: Array, brush: Object },
  emits: ["pick", "drop", "shown", "face", "painted"],
  data: () => ({ shared }),
  mounted() {
    this.busy = {};
    this.draw("before");
    this.draw("after");
  },
  watch: {
    before() { this.draw("before"); },
    after() { this.draw("after"); },
  },
  methods: {
    begin(event) {
      const { mask, before } = this.$refs;
      if (mask.width !== before.width || mask.height !== before.height) {
        mask.width = before.width;
        mask.height = before.height;
      }
      mask.setPointerCapture(event.pointerId);
      this.last = this.place(event);
      this.paint(event);
    },
    paint(event) {
      if (!this.last) return;
      const canvas = this.$refs.mask, pen = canvas.getContext("2d"), next = this.place(event);
      pen.globalCompositeOperation = this.brush.erase ? "destination-out" : "source-over";
      pen.strokeStyle = "#e5562f";
      pen.lineCap = pen.lineJoin = "round";
      pen.lineWidth = Math.max(1, this.brush.size * canvas.width);
      pen.beginPath();
      pen.moveTo(...this.last);
      pen.lineTo(...next);
      pen.stroke();
      this.last = next;
    },
    end() {
      if (!this.last) return;
      this.last = null;
      this.$emit("painted", this.$refs.mask.toDataURL("image/png"));
    },
    place(event) {
      const canvas = this.$refs.mask, box = canvas.getBoundingClientRect();
      const across = canvas.width / box.width, down = canvas.height / box.height;
      return [(event.clientX - box.left) * across, (event.clientY - box.top) * down];
    },
    wipe() {
      const canvas = this.$refs.mask;
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    },
    // Only the newest picture is fetched: those that came and went in the meantime are left out.
    async draw(side) {
      if (this.busy[side]) return;
      this.busy[side] = true;
      let done = "";
      try {
        while (this[side] && this[side] !== done) {
          done = this[side];
          const answer = await fetch(done);
          if (!answer.ok) break;
          const bitmap = await createImageBitmap(await answer.blob());
          const canvas = this.$refs[side];
          if (!canvas) break;
          if (canvas.width !== bitmap.width) canvas.width = bitmap.width;
          if (canvas.height !== bitmap.height) canvas.height = bitmap.height;
          canvas.getContext("2d").drawImage(bitmap, 0, 0);
          bitmap.close();
          const version = Number(new URL(done, location).searchParams.get("v"));
          canvas.dataset.version = version;
          if (side === "after") this.$emit("shown", version);
        }
      } catch {
        // The server is gone; NiceGUI says so.
      } finally {
        this.busy[side] = false;
      }
    },
  },
};
