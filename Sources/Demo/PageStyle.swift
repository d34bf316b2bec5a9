// Style of the demonstration page. Colours are custom properties; the charts read the same ones.

extension DemoPage {
    static let style = #"""
        :root{--ground:#f6f7f8;--card:#fff;--ink:#16202a;--soft:#5d6b78;--line:#dfe4e8;--grid:#e9edf0;--a:#0b7a75;--a-fill:#0b7a7522;
          --b:#b4690e;--bad:#b3261e;--good:#0b7a75;--shadow:0 1px 2px #16202a0d,0 4px 16px #16202a0a;color-scheme:light}
        @media (prefers-color-scheme:dark){:root:not([data-theme=light]){--ground:#0f1418;--card:#161d23;--ink:#e6edf2;--soft:#8fa0ae;
          --line:#27323b;--grid:#202a32;--a:#3fc1b5;--a-fill:#3fc1b522;--b:#e0a04a;--bad:#ff8a80;--good:#3fc1b5;
          --shadow:none;color-scheme:dark}}
        :root[data-theme=dark]{--ground:#0f1418;--card:#161d23;--ink:#e6edf2;--soft:#8fa0ae;
          --line:#27323b;--grid:#202a32;--a:#3fc1b5;--a-fill:#3fc1b522;--b:#e0a04a;--bad:#ff8a80;--good:#3fc1b5;
          --shadow:none;color-scheme:dark}
        *{box-sizing:border-box}
        body{margin:0;background:var(--ground);color:var(--ink);
          font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;
          font-variant-numeric:tabular-nums}
        header,main{max-width:1180px;margin:0 auto;padding:0 24px}
        header{display:flex;flex-wrap:wrap;gap:16px;align-items:center;justify-content:space-between;padding-top:28px;padding-bottom:20px}
        .brand{display:flex;gap:14px;align-items:center}
        .brand svg{width:38px;height:38px;fill:none;stroke:var(--ink);stroke-width:2.4;stroke-linecap:round}
        .brand .water{stroke:var(--a)}
        h1{margin:0;font-size:22px;line-height:1.15;letter-spacing:-.01em}
        .brand p{margin:2px 0 0;color:var(--soft)}
        h2{margin:0 0 12px;font-size:14px;font-weight:600;display:flex;flex-wrap:wrap;gap:4px 12px;justify-content:space-between}
        .controls{display:flex;gap:8px;align-items:center}
        button{font:inherit;font-weight:600;padding:7px 16px;border-radius:8px;border:1px solid var(--line);
          background:var(--card);color:var(--ink);cursor:pointer}
        #start:not(:disabled){background:var(--a);border-color:var(--a);color:var(--card)}
        button:disabled{opacity:.45;cursor:default}
        button:focus-visible{outline:2px solid var(--a);outline-offset:2px}
        button.quiet{padding:7px 9px;display:flex}
        button.quiet svg{width:18px;height:18px;fill:none;stroke:currentColor;stroke-width:1.4}
        button.quiet path{fill:currentColor}
        .state{margin-right:6px;color:var(--soft);display:inline-flex;gap:8px;align-items:center}
        .state::before{content:"";width:9px;height:9px;border-radius:50%;background:var(--soft)}
        .state[data-state=running]::before{background:var(--good)}
        .state[data-state=starting]::before{background:var(--b)}
        .state[data-state=failed]::before{background:var(--bad)}
        .card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;box-shadow:var(--shadow);min-width:0}
        .path{display:flex;align-items:center;justify-content:space-between;gap:14px}
        .node{border:1px solid var(--line);border-radius:10px;padding:10px 18px;text-align:center;flex:none}
        .node.own{border-color:var(--a);background:var(--a-fill)}
        .node b,.node span{display:block}
        .node span,.link small,.link span{color:var(--soft);font-size:12.5px}
        .link{flex:1;text-align:center;min-width:90px}
        .link span,.link small{display:block;overflow-wrap:anywhere}
        .link i{display:block;height:2px;margin:5px 0;background-color:var(--line)}
        .link.on i{background:repeating-linear-gradient(90deg,var(--a) 0 8px,transparent 8px 16px);
          background-size:16px 2px;animation:flow .7s linear infinite}
        @keyframes flow{from{background-position:16px 0}to{background-position:0 0}}
        @media (prefers-reduced-motion:reduce){.link.on i{animation:none}}
        .figures{display:grid;grid-template-columns:repeat(4,1fr);gap:16px;margin:16px 0}
        .figures div{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 20px;box-shadow:var(--shadow)}
        .figures span,.figures small{color:var(--soft);font-size:13px;display:block}
        .figures b{display:block;font-size:25px;line-height:1.3;font-weight:600;letter-spacing:-.02em}
        .split{display:grid;grid-template-columns:minmax(280px,4fr) 7fr;gap:16px;align-items:start}
        .charts{display:grid;gap:16px;min-width:0}
        canvas{display:block;width:100%;height:190px}
        table{width:100%;border-collapse:collapse;margin-top:10px;font-size:13px}
        th,td{text-align:right;padding:4px 0 4px 10px;font-weight:400}
        thead th{color:var(--soft)}
        tbody th{text-align:left;padding-left:0}
        tbody tr{border-top:1px solid var(--line)}
        .legend{font-weight:400;color:var(--soft);font-size:13px}
        .legend i{display:inline-block;width:9px;height:9px;border-radius:50%;margin:0 3px 0 8px;background:var(--a)}
        .legend i.b{background:var(--b)}
        .steps{list-style:none;margin:0;padding:0}
        .steps li{position:relative;padding:0 0 16px 28px}
        .steps li:last-child{padding-bottom:0}
        .steps li::before{content:"";position:absolute;left:4px;top:6px;width:10px;height:10px;border-radius:50%;
          border:2px solid var(--line);background:var(--card)}
        .steps li::after{content:"";position:absolute;left:10px;top:22px;bottom:-2px;width:2px;background:var(--line)}
        .steps li:last-child::after{display:none}
        .steps li[data-step=done]::before{background:var(--good);border-color:var(--good)}
        .steps li[data-step=now]::before{border-color:var(--b)}
        .steps li[data-step=failed]::before{background:var(--bad);border-color:var(--bad)}
        .steps b{font-weight:600;display:flex;justify-content:space-between;gap:10px}
        .steps b span{font-weight:400;color:var(--soft);flex:none}
        .steps p{margin:2px 0 0;color:var(--soft);font-size:13px;overflow-wrap:anywhere}
        .steps li[data-step=failed] p{color:var(--bad)}
        code,.steps p{font-family:ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;font-size:12.5px}
        .streams,.halves,.datagrams{margin-top:16px}
        h3{margin:14px 0 8px;font-size:13px;font-weight:600;display:flex;flex-wrap:wrap;gap:4px 12px;justify-content:space-between}
        .legend i.lost{background:var(--bad)}
        .knobs{display:flex;flex-wrap:wrap;gap:8px 20px;align-items:center;color:var(--soft);font-size:13px}
        .knobs select{font:inherit;color:var(--ink);background:var(--ground);border:1px solid var(--line);border-radius:8px;
          padding:5px 8px;margin-left:6px}
        .route{margin-left:auto}
        .route b{color:var(--ink);font-weight:600}
        .twins{display:grid;grid-template-columns:3fr 2fr;gap:0 24px}
        .twins>div{min-width:0}
        #udp-rtt,#udp-jitter{height:170px}
        #udp-tape{height:56px}
        .strip b.no{color:var(--bad)}
        .cells{display:grid;grid-template-columns:repeat(16,1fr);gap:6px}
        .cells div{position:relative;height:72px;border:1px solid var(--line);border-radius:6px;overflow:hidden;font-size:11px;
          text-align:center;padding-top:5px;color:var(--soft)}
        .cells i{position:absolute;left:0;right:0;bottom:0;background:var(--a-fill);border-top:2px solid var(--a)}
        .cells b{display:block;position:relative;color:var(--ink);font-weight:600}
        .cells span{position:relative}
        .cells div[data-stream=failed]{border-color:var(--bad);color:var(--bad)}
        .strip{display:flex;flex-wrap:wrap;gap:6px 28px;margin:12px 0 0;color:var(--soft);font-size:13px}
        .strip b{color:var(--ink);font-weight:600;margin-left:6px}
        .halves{display:grid;grid-template-columns:1fr 1fr;gap:16px;align-items:start}
        .ask{display:flex;gap:8px}
        .ask input,.ask select{font:inherit;color:inherit;background:var(--ground);border:1px solid var(--line);border-radius:8px;
          padding:6px 10px;min-width:0}
        .ask input{flex:1}
        .chips{margin:10px 0 0;display:flex;flex-wrap:wrap;gap:6px}
        .chips button{font-weight:400;font-size:12.5px;padding:2px 10px;border-radius:20px;color:var(--soft)}
        .answers td,.answers th{vertical-align:top}
        .answers td:nth-child(-n+2),.answers th:nth-child(-n+2){text-align:left;overflow-wrap:anywhere}
        .answers td:first-child,.answers th:first-child{padding-left:0}
        .answers td:nth-child(n+3),.answers td:first-child{white-space:nowrap}
        .answers .no{color:var(--bad)}
        .gauges{display:grid;grid-template-columns:1fr 1fr;gap:14px 18px}
        figure{margin:0;min-width:0}
        figcaption{display:flex;justify-content:space-between;color:var(--soft);font-size:13px}
        figcaption b{color:var(--ink);font-weight:600}
        .gauges canvas{height:74px;margin-top:4px}
        .foot{color:var(--soft);font-size:13px;max-width:76ch;margin:18px 0 32px}
        @media (max-width:900px){.split{grid-template-columns:1fr}.figures{grid-template-columns:repeat(2,1fr)}
          .halves,.twins{grid-template-columns:1fr}.route{margin-left:0}.cells{grid-template-columns:repeat(8,1fr)}}
        @media (max-width:640px){header,main{padding-left:14px;padding-right:14px}.path{flex-direction:column}
          .node{width:100%}.link{width:100%;min-height:52px}.figures b{font-size:20px}.figures div{padding:12px 14px}}
        """#
}
